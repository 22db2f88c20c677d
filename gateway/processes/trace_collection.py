"""Trace collection in the admin process: its construction from the configuration, and its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from gateway.admin.feed import Source
from gateway.admin.fleet import Fleet
from gateway.admin.record_collector import RecordCollector, RecordSinks
from gateway.admin.traces_api import TracesApi
from gateway.config import Config, Loaded, models
from gateway.masking import Redaction
from gateway.telemetry.metrics.instruments import TRACE_EXPORTS, TRACE_STORE_LOSSES
from gateway.telemetry.metrics.merge import Merged
from gateway.telemetry.metrics.minutes import MinuteLog
from gateway.telemetry.semconv import NAMES, GenAiNames
from gateway.telemetry.traces.minutes import StoredMinutes
from gateway.telemetry.traces.reader import TraceReader
from gateway.telemetry.traces.store import Retention, TraceStore
from gateway.wiring.traces import disabled, local_store, misread, otlp_endpoint

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from gateway.telemetry.traces.export import Export

_PATIENCE_S = 0.5


class TraceCollection:
    """Trace store, export to OpenTelemetry's collector, and the task that fills both."""

    def __init__(
        self, loaded: Loaded, folder: Path, fleet: Fleet, logger: FilteringBoundLogger
    ) -> None:
        """Open the configured store and export. `folder` is shared by the workers."""
        traces = loaded.config.telemetry.traces
        self.store: TraceStore | None = None
        self.export: Export | None = None
        self.collector: RecordCollector | None = None
        self.minutes: MinuteLog | None = None
        """History of the metrics in the local store, or None if there is none."""
        names = NAMES[traces.semconv if traces is not None else "1.44"]
        self._traces: models.Traces | None = None
        """Settings of the export; None if there is none."""
        self.reader: TraceReader | None = None
        """Reader of the local store, or None if there is none."""
        if traces is not None and not disabled(os.environ):
            for variable, reason in misread(traces, os.environ):
                logger.warning("environment", variable=variable, reason=reason)
            path = local_store(loaded.config, loaded.base, os.environ)
            if path is not None:
                retention = Retention(traces.age, traces.size, traces.usage_age)
                self.store = TraceStore(path, retention, _reporting(logger, "trace_store", path))
                self.reader = TraceReader(path)
                self.minutes = StoredMinutes(self.store, self.reader)
            if otlp_endpoint(traces, os.environ) is not None:
                self._traces = traces
                self.export = _export(traces, names, _reporting(logger, "trace_export"))
            if self.store is not None or self.export is not None:
                sinks = RecordSinks(
                    self.store, self.export, names, Redaction(traces.redact), traces.content
                )
                self.collector = RecordCollector(fleet, folder, sinks, logger)
        self.api = TracesApi(self.reader, names, self.collector, self.store, self.export)

    def change_headers(self, config: Config) -> None:
        """Send to the collector with the headers of another configuration. Its other settings take
        effect after a restart.
        """
        before, after = self._traces, config.telemetry.traces
        if self.export is None or before is None or after is None:
            return
        if before.headers != after.headers:
            self._traces = before.model_copy(update={"headers": after.headers})
            self.export.replace_exporter(_exporter(self._traces))

    def counts(self) -> Merged:
        """Return the counts of lost and sent traces, for the metrics."""
        counts: Merged = {}
        if self.store is not None:
            counts[TRACE_STORE_LOSSES.name] = {(): float(self.store.lost)}
        if self.export is not None:
            exported = self.export.counts
            counts[TRACE_EXPORTS.name] = {
                ("sent",): float(exported.sent),
                ("lost",): float(exported.lost),
            }
        return counts

    @property
    def topics(self) -> Mapping[str, Source]:
        """Topics of the admin feed about traces, with their sources."""
        return {"kept": self.api.newest}

    async def run(self) -> None:
        """Collect traces from the workers until cancelled."""
        if self.collector is not None:
            await self.collector.run()

    async def once(self) -> bool:
        """Collect traces once. Return False if nothing answers or nothing is collected."""
        return self.collector is not None and await self.collector.once()

    def close(self) -> None:
        """Write and send the remaining traces, for at most `_PATIENCE_S` each."""
        if self.store is not None:
            self.store.close(_PATIENCE_S)
        if self.export is not None:
            self.export.close(_PATIENCE_S)


def _export(
    traces: models.Traces, names: GenAiNames, report: Callable[[str | None], None]
) -> Export:
    # Imported here, since OpenTelemetry's SDK is large and no other process needs it.
    from gateway.telemetry.traces.export import Export

    return Export(_exporter(traces), names.schema_url, report)


def _exporter(traces: models.Traces) -> Callable[[], SpanExporter]:
    from gateway.telemetry.traces.export import ExportOptions, otlp_exporter

    headers = {name: value.reveal().decode("latin-1") for name, value in traces.headers.items()}
    options = ExportOptions(traces.otlp, traces.protocol, headers or None)
    return lambda: otlp_exporter(options, os.environ)


def _reporting(
    logger: FilteringBoundLogger, what: str, file: Path | None = None
) -> Callable[[str | None], None]:
    where = {} if file is None else {"file": str(file)}

    def report(why: str | None) -> None:
        if why is None:
            logger.info(what, state="works", **where)
        else:
            logger.warning(what, state="failing", reason=why, **where)

    return report
