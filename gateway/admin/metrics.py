"""Metrics of the whole gateway: those of all workers, merged, with their history."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Callable

import aiohttp

import gateway
from gateway.admin.fleet import Fleet
from gateway.admin.reload import Reloader
from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.history import STEP_S, History
from gateway.telemetry.metrics.merge import Merge, Merged
from gateway.telemetry.metrics.minutes import MinuteLog, MinutesInMemory, minute_of
from gateway.telemetry.metrics.registry import Snapshot

_TIMEOUT_S = 2.0
_FIRST_STEP_S = 1.0


class GatewayMetrics:
    """Merged metrics of all workers."""

    def __init__(
        self,
        fleet: Fleet,
        reloader: Reloader,
        own: Callable[[], Merged] = dict,
        minutes: MinuteLog | None = None,
    ) -> None:
        """Create the metrics. `own` returns the counts of the admin process: of stored and exported
        traces, and of alerts. `minutes` keeps the history beyond an hour; in memory by default.
        """
        self.minutes = MinutesInMemory() if minutes is None else minutes
        self.history = History(lambda step: self.minutes.add(minute_of(step)))
        self._own = own
        self._fleet = fleet
        self._reloader = reloader
        self._merge = Merge()
        self._asking: asyncio.Task[Merged] | None = None

    async def now(self) -> Merged:
        """Return all metrics. Concurrent callers share one request to the workers."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._forget_question)
        return await asyncio.shield(self._asking)

    async def keep(self) -> None:
        """Add the metrics to the history every `STEP_S` seconds, until cancelled."""
        while True:
            self.history.add(time.time(), await self.now())
            # Soon after the start, so that there are figures to show.
            await asyncio.sleep(STEP_S if self.history.steps else _FIRST_STEP_S)

    def close(self) -> None:
        """Add the current minute to the history."""
        self.history.end_minute()

    def _forget_question(self, _: asyncio.Task[Merged]) -> None:
        self._asking = None

    async def _ask(self) -> Merged:
        snapshots: dict[int, tuple[str, Snapshot] | None] = {}
        for one in await self._fleet.ask("GET", "/metrics", timeout_s=_TIMEOUT_S):
            document = one.document
            snapshots[one.worker] = (document["life"], document["metrics"]) if one.ok else None
        options = self._reloader.loaded.config.telemetry.metrics
        if options is not None:
            self._merge.tell_apart(options.tenants)
        merged = self._merge.merge(snapshots)
        up = sum(one is not None for one in snapshots.values())
        merged[table.WORKERS.name] = {("up",): float(up), ("down",): float(len(snapshots) - up)}
        merged[table.WORKER_STARTS.name] = {
            (str(worker),): float(count) for worker, count in self._merge.starts.items()
        }
        merged[table.BUILD.name] = {
            (gateway.__version__, platform.python_version(), aiohttp.__version__): 1.0
        }
        merged[table.RELOADS.name] = {
            (outcome,): float(count) for outcome, count in self._reloader.counts.items()
        }
        last = self._reloader.last
        merged[table.RELOAD_OK.name] = {(): float(last is None or not last.problems)}
        return {**merged, **self._own()}
