"""Alerts in the admin process: watches all workers, and sends what begins and ends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.admin.fleet import Fleet
from gateway.admin.limits import merge_limits
from gateway.admin.metrics import GatewayMetrics
from gateway.config import Config, models
from gateway.prompt_audit.audit_log import RecordResult
from gateway.telemetry.alerts.conditions import Conditions, Observation
from gateway.telemetry.alerts.delivery import Deliveries
from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.instruments import Instrument
from gateway.telemetry.metrics.merge import Merged
from gateway.telemetry.metrics.minutes import failed
from gateway.wiring.alerts import alert_target, alert_thresholds

_EVERY_S = 2.0
_WINDOW_S = 60.0
_BUDGETS = ("budget_money", "budget_tokens")


class _Alert:
    """Alert of the configuration, with its conditions and its queue."""

    def __init__(self, options: models.AlertSettings, deliveries: Deliveries) -> None:
        self.options = options
        self.conditions = Conditions(alert_thresholds(options))
        self.deliveries = deliveries


class Alerts:
    """Alerts of the configuration that is served."""

    def __init__(
        self,
        fleet: Fleet,
        config: Callable[[], Config],
        logger: FilteringBoundLogger,
    ) -> None:
        self._fleet = fleet
        self._config = config
        self._logger = logger
        self._alerts: dict[str, _Alert] = {}
        self._counts: dict[str, Counter[str]] = {}

    def counts(self) -> Merged:
        """Return the numbers of sent and lost events, for the metrics."""
        found: Merged = {table.ALERTS.name: {}}
        for name, counts in self._counts.items():
            for outcome, count in counts.items():
                found[table.ALERTS.name][name, outcome] = float(count)
        return found

    async def keep(self, metrics: GatewayMetrics) -> None:
        """Watch and send, until cancelled."""
        try:
            while True:
                self._apply(self._config().alerts)
                if self._alerts:
                    await self._look(metrics)
                await asyncio.sleep(_EVERY_S)
        finally:
            self._apply({})

    def _apply(self, settings: dict[str, models.AlertSettings]) -> None:
        """Serve other settings. What holds already is not told again, and waiting events are
        sent to the new address.
        """
        if {name: one.options for name, one in self._alerts.items()} == settings:
            return
        before, self._alerts = self._alerts, {}
        for name, options in settings.items():
            old = before.pop(name, None)
            if old is not None and old.options == options:
                self._alerts[name] = old
                continue
            counts = self._counts.setdefault(name, Counter(sent=0, failed=0, dropped=0))
            made = _Alert(options, Deliveries(alert_target(options), counts, self._lost(name)))
            if old is not None:
                if alert_thresholds(old.options) == alert_thresholds(options):
                    made.conditions = old.conditions
                for event in old.deliveries.take():
                    made.deliveries.add(event)
            self._alerts[name] = made
        for old in before.values():
            old.deliveries.take()

    def _lost(self, name: str) -> Callable[[str, str], None]:
        return lambda event, why: self._logger.error(
            "alert_not_sent", alert=name, id=event, reason=why
        )

    async def _look(self, metrics: GatewayMetrics) -> None:
        seen = await self._observation(metrics)
        for name, one in self._alerts.items():
            for event in one.conditions.see(seen):
                if event.kind.value in one.options.events:
                    self._logger.warning(
                        "alert",
                        alert=name,
                        id=event.id,
                        kind=event.kind.value,
                        state=event.state.value,
                        text=event.text,
                    )
                    one.deliveries.add(event)

    async def _observation(self, metrics: GatewayMetrics) -> Observation:
        wanted = {kind for one in self._alerts.values() for kind in one.options.events}
        upstreams: list[Any] = []
        budgets: list[Any] = []
        if "upstream_down" in wanted:
            replies = await self._fleet.ask("GET", "/upstreams")
            upstreams = [one.document["upstreams"] for one in replies if one.ok]
        if not wanted.isdisjoint(("budget_soft", "budget_exhausted")):
            found = [one for one in await self._fleet.ask("GET", "/limits") if one.ok]
            keys = merge_limits(found)["keys"] if found else []
            budgets = [one for one in keys if one["unit"] in _BUDGETS]
        window = metrics.history.window(_WINDOW_S)
        silent: defaultdict[str, float] = defaultdict(float)
        place = table.SILENT_STREAMS.labels.index("upstream")
        merged: Merged = {}
        if not wanted.isdisjoint(("silent_streams", "prompt_audit")):
            merged = await metrics.now()
        for labels, value in merged.get(table.SILENT_STREAMS.name, {}).items():
            silent[labels[place]] += value if isinstance(value, float) else 0.0
        return Observation(
            time.time(),
            upstreams,
            budgets,
            window.total_by(table.REQUESTS, "route"),
            window.total_by(table.REQUESTS, "route", failed),
            silent,
            _total(merged, table.AUDIT_FAILING),
            sum(window.total_by(table.AUDIT_RECORDS, "route", _lost).values()),
        )


def _total(merged: Merged, instrument: Instrument) -> float:
    """Return the sum of a metric over all its labels."""
    found = merged.get(instrument.name, {}).values()
    return sum(value for value in found if isinstance(value, float))


def _lost(labels: Mapping[str, str]) -> bool:
    """Tell whether the records with these labels were lost."""
    return labels["result"] != RecordResult.WRITTEN
