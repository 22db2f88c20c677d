"""Trace collection: takes the records of requests from the workers, and passes them to the local
store and to OpenTelemetry's collector.

The workers are asked twice a second over their sockets. A worker that ends writes its remaining
records to a file. A batch that was not acknowledged is sent again, but stored only once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.admin.fleet import Fleet
from gateway.masking import Redaction, mask_event
from gateway.telemetry.semconv import GenAiNames
from gateway.telemetry.traces.content import messages
from gateway.telemetry.traces.recording import TraceRecords
from gateway.telemetry.traces.spans import build
from gateway.telemetry.traces.store import Batch, TraceStore

if TYPE_CHECKING:
    from gateway.telemetry.traces.export import Export

_EVERY_S = 0.5
_MOST_IN_A_ROW = 20
"""Number of rounds without a pause, after which other work has its turn."""
_LEFT = "left-*.json"
"""Pattern of the files that ended workers left."""


@dataclass(frozen=True, slots=True)
class RecordSinks:
    """Destinations of records, and how records are written."""

    store: TraceStore | None
    export: Export | None
    names: GenAiNames
    redact: Redaction
    content_bytes: int
    """Largest size of a recorded prompt or answer."""


class RecordCollector:
    """Collection of the records of all workers."""

    def __init__(
        self, fleet: Fleet, folder: Path, sinks: RecordSinks, logger: FilteringBoundLogger
    ) -> None:
        """Create the collector. `folder` is where workers leave their files."""
        self._logger = logger
        self._fleet = fleet
        self._folder = folder
        self._sinks = sinks
        self._acknowledged: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self.records = 0
        """Number of records taken since the start."""
        self.on_record: Callable[[dict[str, Any]], None] | None = None
        """Called with each record, after masking."""

    @property
    def dropped(self) -> int:
        """Number of records that workers lost because they were not asked in time."""
        return sum(self._dropped.values())

    async def run(self) -> None:
        """Collect records twice a second until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.once()
            except Exception:  # one bad record must not end the collection
                self._logger.exception("collecting")

    async def once(self) -> bool:
        """Take all available records. Return False if no worker answers."""
        for path in sorted(self._folder.glob(_LEFT)):
            with contextlib.suppress(OSError, orjson.JSONDecodeError):
                for line in path.read_bytes().splitlines():
                    self._take(orjson.loads(line))
            path.unlink(missing_ok=True)
        answered = False
        for _ in range(_MOST_IN_A_ROW):
            said = await self._fleet.ask("POST", "/traces", self._acknowledged)
            batches = [one.document for one in said if one.ok]
            answered = answered or bool(batches)
            for batch in batches:
                self._take(batch)
            if not any(batch["more"] for batch in batches):
                break
        return answered

    def _take(self, said: dict[str, Any]) -> None:
        boot, number = said["boot"], said["number"]
        if number <= self._acknowledged.get(boot, 0):
            return
        self._acknowledged[boot] = number
        self._dropped[boot] = said["dropped"]
        sinks = self._sinks
        records = said["records"]
        for record in records:
            content = record.pop("content", None)
            mask_event(None, "", record)
            if content:
                record["content"] = messages(
                    content["prompt"],
                    content["answer"],
                    sinks.redact,
                    sinks.content_bytes,
                    finish=(record.get("said") or {}).get("finish"),
                    complete=record.get("end") == "complete" and record.get("error") is None,
                )
            if self.on_record is not None:
                self.on_record(record)
            if sinks.export is not None and record["sampled"]:
                sinks.export.add(record["trace"], build(record, sinks.names))
        self.records += len(records)
        if sinks.store is not None and (records or said["tallies"]):
            sinks.store.add(Batch(boot, number, records, said["tallies"], time.time()))


def leave_records(records: TraceRecords, folder: Path, slot: int) -> None:
    """Write the remaining records of a worker that ends to a file for the admin process."""
    if batches := records.rest():
        path = folder / f"left-{slot}-{records.boot}.json"
        fresh = path.with_suffix(".new")
        with contextlib.suppress(OSError):  # on a full disk, only these records are lost
            fresh.write_bytes(b"\n".join(batches))
            fresh.replace(path)
