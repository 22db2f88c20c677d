"""Export merged metrics by OTLP over HTTP (protobuf) from the admin process, not from workers.

Import only if configured: the exporter loads 20 MiB of modules.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

import gateway
from gateway.telemetry.metrics.instruments import ATTRIBUTES, Instrument, InstrumentKind
from gateway.telemetry.metrics.merge import Buckets, Merged, Value, rows
from gateway.telemetry.metrics.registry import Exemplar as LimitActivity
from gateway.telemetry.metrics.registry import Labels
from gateway.telemetry.metrics.renaming import renamed

_PATH = "/v1/metrics"
_TIMEOUT_S = 5.0
_NO_SPAN = 0
"""Span id for exemplars. The encoder drops the trace id if there is no span id."""
_CUMULATIVE = AggregationTemporality.CUMULATIVE


class OtlpMetrics:
    """Send all metrics to a collector periodically."""

    def __init__(
        self,
        url: str,
        read: Callable[[], Awaitable[Merged]],
        *,
        interval_s: float,
        newer: bool,
        report: Callable[[str], None],
    ) -> None:
        """`read` returns the merged metrics. `report` is called when sending starts to fail, and
        when it works again.
        """
        self._read = read
        self._interval_s = interval_s
        self._newer = newer
        self._report = report
        self._failing = False
        self._began_ns = time.time_ns()
        self._resource = Resource.create(
            {"service.name": "llm-gateway", "service.version": gateway.__version__}
        )
        # The exporter logs each failure with a stack trace. Here `report` does that instead.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        if not url.endswith(_PATH):
            url = url.rstrip("/") + _PATH
        self._exporter = OTLPMetricExporter(url, timeout=_TIMEOUT_S)

    async def keep(self) -> None:
        """Send periodically until cancelled."""
        try:
            while True:
                merged = await self._read()
                self._told(await asyncio.to_thread(self._send, merged))
                await asyncio.sleep(self._interval_s)
        finally:
            self._exporter.shutdown()

    def _send(self, merged: Merged) -> bool:
        data = document(merged, self._resource, self._began_ns, time.time_ns(), newer=self._newer)
        return self._exporter.export(data) is MetricExportResult.SUCCESS

    def _told(self, good: bool) -> None:
        if good == self._failing:
            self._failing = not good
            self._report("sent again" if good else "cannot be sent: the collector does not take it")


def document(
    merged: Merged, resource: Resource, began_ns: int, now_ns: int, *, newer: bool = False
) -> MetricsData:
    """Return the metrics in the SDK's types. Times are in nanoseconds since the epoch."""
    found = rows(merged)
    metrics = [
        Metric(
            instrument.dotted,
            instrument.help,
            instrument.unit,
            _points(instrument, series, began_ns, now_ns),
        )
        for instrument, series in (renamed(found) if newer else found)
    ]
    scope = InstrumentationScope("gateway", gateway.__version__)
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, metrics, "")], "")])


def _points(
    instrument: Instrument, series: Mapping[Labels, Value], began_ns: int, now_ns: int
) -> Sum | Gauge | Histogram:
    if instrument.kind is InstrumentKind.HISTOGRAM:
        return Histogram(
            [
                HistogramDataPoint(
                    attributes(instrument, labels),
                    began_ns,
                    now_ns,
                    value.count,
                    value.sum,
                    value.counts,
                    instrument.buckets,
                    None,  # type: ignore[arg-type]  # the least and the most are not known
                    None,  # type: ignore[arg-type]
                    _exemplars(value.exemplars.values()),
                )
                for labels, value in series.items()
                if isinstance(value, Buckets)
            ],
            _CUMULATIVE,
        )
    points = [
        NumberDataPoint(attributes(instrument, labels), began_ns, now_ns, value)
        for labels, value in series.items()
        if not isinstance(value, Buckets)
    ]
    if instrument.kind is InstrumentKind.COUNTER:
        return Sum(points, _CUMULATIVE, is_monotonic=True)
    return Gauge(points)


def attributes(instrument: Instrument, labels: Labels) -> dict[str, str]:
    """Return the labels by their dotted names, without empty values."""
    pairs = zip(instrument.labels, labels, strict=True)
    return {ATTRIBUTES.get(name, name): value for name, value in pairs if value}


def _exemplars(seen: Iterable[LimitActivity]) -> list[Exemplar]:
    return [
        Exemplar({}, value, int(when * 1e9), _NO_SPAN, int(trace_id, 16))
        for trace_id, value, when in seen
    ]
