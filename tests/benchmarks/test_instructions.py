"""Native instructions: what is read from callgrind's files, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import instructions
from benchmarks.instructions import CALLERS, UNITS, Instructions

_STAGES = [stage for stages in UNITS.values() for stage in stages]


def dump(name: str, own: int, called: int, thread: int = 1) -> str:
    """A file of callgrind: `parse` takes `own` instructions and calls `copy`, twice."""
    return (
        f"version: 1\nthread: {thread}\n\ndesc: Trigger: Client Request: {name}\n\n"
        "positions: line\nevents: Ir\nsummary: 0\n\n"
        f"fn=(1) parse\n10 {own}\ncfn=(2) copy\ncalls=1 20\n+5 {called}\n"
        f"fn=(2)\n20 {called - 1}\n* 1\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three rounds of every stage, of which the last is disturbed."""
    for name in _STAGES:
        for number, own in enumerate((60, 60, 600)):
            (tmp_path / f"count.{name}{number}-01").write_text(
                dump(name, own * CALLERS, 40 * CALLERS)
            )
        (tmp_path / f"count.{name}-02").write_text(dump(name, 10**6, 10**6, thread=2))
    (tmp_path / "count.99-01").write_text(dump("none", 10**6, 10**6))
    return tmp_path


def test_a_stage_is_the_mean_of_the_rounds_that_are_not_disturbed(folder: Path) -> None:
    found = instructions.read(folder)
    assert found["request"].stages == {"until the backend has it": 100, "its answer": 100}
    assert found["request"].total == 200
    assert found["stream"].total == 300
    assert found["event"].total == 100


def test_what_a_function_calls_is_not_counted_as_its_own(folder: Path) -> None:
    assert instructions.read(folder)["event"].functions == {"parse": 60, "copy": 40}


def test_the_table_tells_which_stage_has_grown() -> None:
    now, before = (
        {"bare": {"request": Instructions({"begin": begin, "end": 500.0}, {"copy": 600.0})}}
        for begin in (1500.0, 1000.0)
    )
    said = instructions.render(now, before)
    assert "| bare, request | 2,000 | 1,500 | 1.333 | begin 1,500 (+500), end 500 (+0) |" in said
    assert "copy 30 % |" in said
