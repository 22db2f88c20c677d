"""Merged metrics in Prometheus' text format, or as OpenMetrics with exemplars, as requested."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from gateway.telemetry.metrics.instruments import Instrument, InstrumentKind
from gateway.telemetry.metrics.merge import Buckets, Merged, Value, rows
from gateway.telemetry.metrics.registry import Labels
from gateway.telemetry.metrics.renaming import renamed


def exposed(merged: Merged, accept: str, *, newer: bool = False) -> tuple[bytes, str]:
    """Return the page and its content type. `newer`: use the newer names of GenAI metrics."""
    encode, content_type = choose_encoder(accept)
    return encode(_Metrics(merged, newer)), content_type


class _Metrics(Collector):
    """Collector that prometheus_client's encoders accept as a registry."""

    def __init__(self, merged: Merged, newer: bool) -> None:
        self._merged = merged
        self._newer = newer

    def collect(self) -> Iterator[Metric]:
        found = rows(self._merged)
        for instrument, series in renamed(found) if self._newer else found:
            yield _metric(instrument, series)


def _metric(instrument: Instrument, series: dict[Labels, Value]) -> Metric:
    name, text, names = instrument.name, instrument.help, instrument.labels
    if instrument.kind is InstrumentKind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, text, labels=names)
        edges = [_edge(bound) for bound in (*instrument.buckets, float("inf"))]
        for labels, value in sorted(series.items()):
            assert isinstance(value, Buckets)
            histogram.add_metric(labels, list(_cumulative(edges, value)), value.sum)
        return histogram
    metric: CounterMetricFamily | GaugeMetricFamily
    if instrument.kind is InstrumentKind.COUNTER:
        metric = CounterMetricFamily(name, text, labels=names)
    else:
        metric = GaugeMetricFamily(name, text, labels=names)
    for labels, value in sorted(series.items()):
        assert not isinstance(value, Buckets)
        metric.add_metric(labels, value)
    return metric


def _cumulative(
    edges: list[str], value: Buckets
) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
    for index, (edge, count) in enumerate(zip(edges, accumulate(value.counts), strict=True)):
        one = value.exemplars.get(index)
        if one is None:
            yield edge, count
        else:
            trace_id, at, when = one
            yield edge, count, Exemplar({"trace_id": trace_id}, at, when)


def _edge(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(bound)
