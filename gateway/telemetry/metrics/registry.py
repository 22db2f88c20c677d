"""The counters and histograms of one worker, as plain numbers by metric and labels.

Finding a series costs one dict look-up, and frequent callers keep the series. Label values are
bounded: values that clients can invent are replaced by `other` beforehand. When a metric has its
maximum number of series, further labels are counted in a series whose labels are all `other`.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from gateway.load.slices import WorkSlices
from gateway.telemetry.metrics.instruments import COUNTED, Instrument, InstrumentKind

OTHER = "other"
SERIES_CAP = 5_000
"""Maximum number of series of each metric."""

_UNSETTLED_CAP = 500
"""Maximum number of deferred subtotals. Settling them takes 4 ms."""

Labels = tuple[str, ...]
Exemplar = tuple[str, float, float]
"""Trace id, value, and time in seconds since the epoch."""
Snapshot = dict[str, list[Any]]
"""Rows of labels and value, by metric name. A histogram's value is its sum, its counts and its
exemplars, each preceded by its bucket's index.
"""


class Count:
    """A counter value."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Distribution:
    """Histogram counts by bucket. Hot paths contain the code of `add` inline."""

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def add(self, value: float, trace_id: str | None = None) -> None:
        """Count a value. The last `trace_id` of each bucket is kept as its exemplar."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
        if trace_id is not None:
            self.note(value, trace_id)

    def note(self, value: float, trace_id: str) -> None:
        """Keep a counted value as the exemplar of its bucket."""
        self.exemplars[bisect_left(self.bounds, value)] = (trace_id, value, time.time())


class Family:
    """The series of one metric."""

    __slots__ = ("_cap", "_other", "instrument", "overflows", "series")

    def __init__(self, instrument: Instrument, cap: int = SERIES_CAP) -> None:
        self.instrument = instrument
        self.series: dict[Labels, Any] = {}
        self.overflows = 0
        """Number of times that labels got no series of their own."""
        self._cap = cap
        self._other = tuple(OTHER for _ in instrument.labels)

    def find(self, labels: Labels) -> Any:
        """Return the series with these labels. Create it if necessary."""
        found = self.series.get(labels)
        if found is None:
            if len(self.series) >= self._cap - 1 and labels != self._other:
                self.overflows += 1
                return self.find(self._other)
            found = self.series[labels] = self._new()
        return found

    def _new(self) -> Count | Distribution:
        if self.instrument.kind is InstrumentKind.HISTOGRAM:
            return Distribution(self.instrument.buckets)
        return Count()

    def rows(self) -> list[Any]:
        """Return the rows for a snapshot."""
        if self.instrument.kind is InstrumentKind.HISTOGRAM:
            return [
                [labels, [one.sum, one.counts[:], [(i, *e) for i, e in one.exemplars.items()]]]
                for labels, one in self.series.items()
            ]
        return [[labels, one.value] for labels, one in self.series.items()]


class Known:
    """The first distinct values up to a limit; all later ones are replaced by `other`. The empty
    text is a value too, and does not count.
    """

    __slots__ = ("_values", "cap")

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self._values = {"": "", OTHER: OTHER}

    def __call__(self, value: str) -> str:
        """Return the value, or `other`."""
        found = self._values.get(value)
        if found is None:
            if len(self._values) >= self.cap + 2:
                return OTHER
            found = self._values[value] = value
        return found


class Subtotal(Protocol):
    """Counts that are added to the registry later."""

    def settle(self) -> None:
        """Add the counts to their series, and begin again at zero."""


class Registry:
    """The registry of one worker. It is kept across reloads."""

    def __init__(self, instruments: Iterable[Instrument] = COUNTED) -> None:
        self._families: Mapping[str, Family] = {one.name: Family(one) for one in instruments}
        self._known: dict[str, Known] = {}
        self._unsettled: deque[Subtotal] = deque()
        self.due: Callable[[], None] = _nothing
        """Called before the registry is read: what counts later has to count now."""

    def defer(self, subtotal: Subtotal) -> None:
        """Settle these counts before the registry is read next, or earlier if there are too many.
        They must be settled before they are deferred again.
        """
        if len(self._unsettled) >= _UNSETTLED_CAP:
            self._unsettled.popleft().settle()
        self._unsettled.append(subtotal)

    def settle(self) -> None:
        """Add all counts that were deferred."""
        self.due()
        while self._unsettled:
            self._unsettled.popleft().settle()

    async def settle_in_slices(self) -> None:
        """Add all counts that were deferred, without holding the event loop for long."""
        self.due()
        slices = WorkSlices()
        while self._unsettled:
            self._unsettled.popleft().settle()
            if slices.over:
                await slices.pause()

    def known(self, label: str, cap: int) -> Known:
        """Return the known values of a label. They are kept across reloads."""
        known = self._known.setdefault(label, Known(cap))
        known.cap = cap
        return known

    def count(self, instrument: Instrument, *labels: str) -> Count:
        """Return a counter by its labels."""
        found: Count = self._families[instrument.name].find(labels)
        return found

    def distribution(self, instrument: Instrument, *labels: str) -> Distribution:
        """Return a histogram by its labels."""
        found: Distribution = self._families[instrument.name].find(labels)
        return found

    @property
    def overflows(self) -> dict[str, int]:
        """Number of times that labels got no series of their own, by metric."""
        return {name: one.overflows for name, one in self._families.items() if one.overflows}

    def snapshot(self) -> Snapshot:
        """Return all values in a form that JSON can represent."""
        self.settle()
        return dict(self.rows())

    def rows(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield the name and rows of each metric that has a series, as they are at that moment."""
        for name, family in self._families.items():
            if family.series:
                yield name, family.rows()


def _nothing() -> None:
    pass
