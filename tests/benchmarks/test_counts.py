"""Guard: what a request and an event cost, in instructions."""

from __future__ import annotations

import pytest

from benchmarks import counts
from benchmarks.counts import Counts, growth

TRIES = 5
"""Counts until one has no growth. On a busy machine, a timer may run in every request of one."""


@pytest.fixture(scope="module")
def kept() -> dict[str, Counts]:
    found = counts.kept()
    if found is None:
        pytest.skip(f"counts are not kept for Python {counts.PYTHON}")
    return found


@pytest.mark.parametrize("name", ["bare", "whole"])
def test_a_request_costs_no_more_instructions_than_are_kept(
    kept: dict[str, Counts], name: str
) -> None:
    """If this is meant: `python -m benchmarks counts --update`."""
    grown: dict[str, str] = {}
    for _ in range(TRIES):
        now = counts.count(whole=name == "whole")
        grown = {
            unit: more
            for unit in counts.UNITS
            if (more := growth(getattr(kept[name], unit), getattr(now, unit)))
        }
        if not grown:
            break
    assert grown == {}


def test_growth_names_the_file_that_grew_most() -> None:
    before = {"gateway/a.py": 100, "gateway/b.py": 100}
    assert growth(before, {"gateway/a.py": 103, "gateway/b.py": 103}) is None
    said = growth(before, {"gateway/a.py": 101, "gateway/b.py": 100, "gateway/c.py": 9})
    assert said == "200 → 210 instructions (+5.0%): gateway/c.py +9, gateway/a.py +1"


def test_fewer_instructions_are_no_growth() -> None:
    assert growth({"gateway/a.py": 100}, {"gateway/b.py": 90}) is None
