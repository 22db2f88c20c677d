"""History of the metrics in the local store."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.telemetry.metrics.minute import Minute
from gateway.telemetry.metrics.minutes import parse
from gateway.telemetry.traces.reader import TraceReader
from gateway.telemetry.traces.store import TraceStore


@dataclass(frozen=True, slots=True)
class StoredMinutes:
    """Minutes in the file of the traces. They survive a restart."""

    store: TraceStore
    reader: TraceReader

    def add(self, minute: Minute) -> None:
        """Queue a minute for the thread that writes."""
        self.store.add_minute(minute)

    def read(self, since: float, until: float) -> list[Minute]:
        """Return the minutes that end after `since` and not after `until`. Raise sqlite3.Error."""
        return [parse(data) for data in self.reader.minutes(since, until)]
