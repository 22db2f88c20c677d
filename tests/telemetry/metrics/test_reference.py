"""The page of metrics in docs/ is that of the instruments."""

from __future__ import annotations

from pathlib import Path

from gateway.telemetry.metrics.instruments import PAGE
from gateway.telemetry.metrics.registry import SERIES_CAP
from gateway.telemetry.metrics.renaming import RENAMED


def test_the_page_in_the_repository_is_this_one() -> None:
    file = Path(__file__).parents[3] / "docs/metrics-reference.md"
    assert file.read_text() == PAGE, "run `make docs`"


def test_the_page_names_the_cap_and_the_newer_names() -> None:
    assert f"more than {SERIES_CAP} series" in PAGE
    rows = PAGE.partition("## Newer names")[2]
    for newer in RENAMED.values():
        assert "| `{}` | `{}` |".format(*newer) in rows
