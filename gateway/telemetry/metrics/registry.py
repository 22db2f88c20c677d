"""What one worker has counted: numbers by metric and labels, in plain lists of integers.

A look-up by labels costs a dict's, and is kept by whoever counts again and again. Labels are closed
sets: what clients can make up is `other` before it comes here, and a metric that has as many series
as it may counts what comes beyond in one that is `other` throughout.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.telemetry.metrics.instruments import COUNTED, Instrument, Kind

OTHER = "other"
SERIES_CAP = 5_000
"""Of each metric."""

Labels = tuple[str, ...]
Exemplar = tuple[str, float, float]
"""A trace's id, the value, and when, in seconds since the epoch."""
Snapshot = dict[str, list[Any]]
"""By metric: rows of labels and value. A histogram's is its sum, its counts, and its exemplars,
each behind the number of its bucket."""


class Count:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Distribution:
    """Counts by bucket. `add` is spelled out where it is on the path of every request."""

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def add(self, value: float, trace_id: str | None = None) -> None:
        """Count a value; of the trace, the last one of each bucket is kept."""
        index = bisect_left(self.bounds, value)
        self.counts[index] += 1
        self.sum += value
        if trace_id is not None:
            self.exemplars[index] = (trace_id, value, time.time())


class Family:
    """All series of one metric."""

    __slots__ = ("_cap", "_other", "instrument", "overflows", "series")

    def __init__(self, instrument: Instrument, cap: int = SERIES_CAP) -> None:
        self.instrument = instrument
        self.series: dict[Labels, Any] = {}
        self.overflows = 0
        """Labels that got no series of their own."""
        self._cap = cap
        self._other = tuple(OTHER for _ in instrument.labels)

    def find(self, labels: Labels) -> Any:
        """The series with these labels, made if need be."""
        found = self.series.get(labels)
        if found is None:
            if len(self.series) >= self._cap - 1 and labels != self._other:
                self.overflows += 1
                return self.find(self._other)
            found = self.series[labels] = self._new()
        return found

    def _new(self) -> Count | Distribution:
        if self.instrument.kind is Kind.HISTOGRAM:
            return Distribution(self.instrument.buckets)
        return Count()

    def rows(self) -> list[Any]:
        """For a snapshot."""
        if self.instrument.kind is Kind.HISTOGRAM:
            return [
                [labels, [one.sum, one.counts, [(i, *e) for i, e in one.exemplars.items()]]]
                for labels, one in self.series.items()
            ]
        return [[labels, one.value] for labels, one in self.series.items()]


class Known:
    """The first so many distinct values; what comes after them is `other`. None is a value too,
    beside them.
    """

    __slots__ = ("_values", "cap")

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self._values = {"": "", OTHER: OTHER}

    def __call__(self, value: str) -> str:
        """The value, or `other`."""
        found = self._values.get(value)
        if found is None:
            if len(self._values) >= self.cap + 2:
                return OTHER
            found = self._values[value] = value
        return found


class Registry:
    """Of one worker. It outlives reloads."""

    def __init__(self, instruments: Iterable[Instrument] = COUNTED) -> None:
        self._families: Mapping[str, Family] = {one.name: Family(one) for one in instruments}
        self._known: dict[str, Known] = {}

    def known(self, label: str, cap: int) -> Known:
        """What values a label has; the same through reloads."""
        known = self._known.setdefault(label, Known(cap))
        known.cap = cap
        return known

    def count(self, instrument: Instrument, *labels: str) -> Count:
        """A counter."""
        found: Count = self._families[instrument.name].find(labels)
        return found

    def distribution(self, instrument: Instrument, *labels: str) -> Distribution:
        """A histogram."""
        found: Distribution = self._families[instrument.name].find(labels)
        return found

    @property
    def overflows(self) -> dict[str, int]:
        """By metric: labels that got no series of their own."""
        return {name: one.overflows for name, one in self._families.items() if one.overflows}

    def snapshot(self) -> Snapshot:
        """Everything, as it can be told as JSON."""
        return {name: family.rows() for name, family in self._families.items() if family.series}
