"""Meanings of error codes, for the reference and for a terminal."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.error_meanings import meanings, plain, reference

DOCS = Path(__file__).parents[1] / "docs"


def test_the_reference_has_a_row_for_every_code_by_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` ", reference(), re.MULTILINE)
    assert rows == [(str(one.status), one.code) for one in meanings()]
    assert [one.status for one in meanings()] == sorted(one.status for one in meanings())


def test_no_cell_breaks_the_table() -> None:
    for one in meanings():
        assert "|" not in one.when + one.remedy
        assert not (one.when + one.remedy).endswith(".")


def test_a_terminal_shows_neither_links_nor_marks() -> None:
    assert plain("See [its `op`](bridge.md#ops), **now**") == "See its op, now"
