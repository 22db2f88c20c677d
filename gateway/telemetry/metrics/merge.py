"""Merge the snapshots of all workers, so that counters never fall.

The last snapshot of a worker that died is kept and added to that of its successor, which starts at
zero. Gauges are only taken from workers that answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.telemetry.metrics.instruments import ALL, Instrument, InstrumentKind
from gateway.telemetry.metrics.registry import Exemplar, Known, Labels, Snapshot

_LASTING = (InstrumentKind.COUNTER, InstrumentKind.HISTOGRAM)


@dataclass(slots=True)
class Buckets:
    """A histogram's series: the number of values in each bucket (not cumulative), and the sum."""

    sum: float
    counts: list[int]
    exemplars: dict[int, Exemplar] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)

    def add(self, other: Buckets) -> None:
        """Add another series. Of two exemplars for a bucket, the later is kept."""
        self.sum += other.sum
        for index, count in enumerate(other.counts):
            self.counts[index] += count
        for index, one in other.exemplars.items():
            if index not in self.exemplars or self.exemplars[index][2] < one[2]:
                self.exemplars[index] = one

    def copy(self) -> Buckets:
        """Return a copy that can be modified."""
        return Buckets(self.sum, list(self.counts), dict(self.exemplars))


Value = float | Buckets
Merged = dict[str, dict[Labels, Value]]
"""Values by metric name, then by labels in the order of `Instrument.labels`."""


class Merge:
    """Merged metrics of one gateway's workers, across restarts of workers."""

    def __init__(self, tenants: int = 1) -> None:
        """`tenants` is the number of tenants with their own label value, over all workers."""
        self._tenants = Known(tenants)
        self._gone: Merged = {}
        self._last: dict[int, tuple[str, Snapshot]] = {}
        self._starts: Counter[int] = Counter()

    @property
    def starts(self) -> Mapping[int, int]:
        """Number of observed starts, by worker."""
        return self._starts

    def tell_apart(self, tenants: int) -> None:
        """Change the number of tenants with their own label value."""
        self._tenants.cap = tenants

    def merge(self, snapshots: Mapping[int, tuple[str, Snapshot] | None]) -> Merged:
        """Return the current totals. `snapshots` maps each worker to an id of its current process
        and its snapshot, or to None if it does not answer.
        """
        for worker, one in snapshots.items():
            if one is None:
                continue
            before = self._last.get(worker)
            if before is None or before[0] != one[0]:
                self._starts[worker] += 1
                if before is not None:
                    self._add(self._gone, before[1], lasting_only=True)
            self._last[worker] = one
        merged = _copied(self._gone)
        for worker, (_, snapshot) in self._last.items():
            self._add(merged, snapshot, lasting_only=snapshots.get(worker) is None)
        return merged

    def _add(self, merged: Merged, snapshot: Snapshot, *, lasting_only: bool) -> None:
        for name, rows in snapshot.items():
            instrument = ALL.get(name)
            if instrument is None or (lasting_only and instrument.kind not in _LASTING):
                continue
            tenant = instrument.labels.index("tenant") if "tenant" in instrument.labels else None
            series = merged.setdefault(name, {})
            for labels, value in rows:
                key = tuple(labels)
                if tenant is not None:
                    key = (*key[:tenant], self._tenants(key[tenant]), *key[tenant + 1 :])
                add(series, key, _read(instrument, value), instrument.kind)


def add(series: dict[Labels, Value], key: Labels, value: Value, kind: InstrumentKind) -> None:
    """Add a value to a series, according to the metric's kind."""
    known = series.get(key)
    if known is None:
        series[key] = value
    elif isinstance(known, Buckets):
        assert isinstance(value, Buckets)
        known.add(value)
    else:
        assert not isinstance(value, Buckets)
        series[key] = max(known, value) if kind is InstrumentKind.PEAK else known + value


def _read(instrument: Instrument, value: Any) -> Value:
    if instrument.kind is not InstrumentKind.HISTOGRAM:
        return float(value)
    total, counts, exemplars = value
    return Buckets(total, list(counts), {i: (trace, at, when) for i, trace, at, when in exemplars})


def _copied(merged: Merged) -> Merged:
    return {
        name: {
            key: value.copy() if isinstance(value, Buckets) else value
            for key, value in series.items()
        }
        for name, series in merged.items()
    }


def rows(merged: Merged) -> Iterator[tuple[Instrument, dict[Labels, Value]]]:
    """Yield the metrics in the order of the table."""
    for name, instrument in ALL.items():
        if name in merged:
            yield instrument, merged[name]
