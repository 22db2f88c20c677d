"""The reference of metrics in docs/ is generated from the table of instruments."""

from __future__ import annotations

from pathlib import Path

from gateway.telemetry.metrics.reference import document


def test_the_reference_is_what_the_table_says() -> None:
    file = Path(__file__).parents[3] / "docs/metrics-reference.md"
    assert file.read_text() == document(), "run `make docs`"
