"""Records in a trace store, and what a question finds there."""

from __future__ import annotations

from typing import Any

from gateway.telemetry.traces.reader import TraceReader, Wanted
from gateway.telemetry.traces.store import Batch, TraceStore
from tests.support.records import record

NOW = 1_800_000_000.0
LONG = 10.0
"""Seconds that nothing takes."""


class Reports(list[str | None]):
    """Reports of a store on itself."""

    def __call__(self, why: str | None) -> None:
        self.append(why)


def batch(number: int = 1, *records: dict[str, Any], **changes: Any) -> Batch:
    """Return a batch with these records."""
    return Batch("boot", number, records, at=NOW, **changes)


def numbered(number: int, **changes: Any) -> dict[str, Any]:
    """Return the record of a request with this number."""
    return record(
        trace=f"{number:032x}", request_id=f"r-{number}", at=NOW - 1000 + number, **changes
    )


def found(store: TraceStore, **wanted: Any) -> list[str]:
    """Return the ids of what a question finds."""
    assert store.flush(LONG)
    page = TraceReader(store.path).requests(Wanted(**wanted))
    return [one["request_id"] for one in page["requests"]]
