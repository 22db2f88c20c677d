"""The last hour of the merged metrics, from which rates and quantiles are computed.

Every few seconds the increase since the last call is stored: every step of the last five minutes,
and every minute of the last hour. Only a few metrics are stored, and only the busiest series of
each step, so that memory is bounded.

    window = history.window(60)
    window.rate(REQUESTS)                            all requests in a second
    window.rate_by(REQUESTS, "route")                {"openai": 12.5, ...}
    window.quantiles(FIRST_TOKEN, (0.5, 0.95, 0.99))           [0.12, 0.8, 2.1]
    window.quantiles_by(FIRST_TOKEN, "model", (0.5,))          {"llama": [0.12], ...}
    history.points()                                 one a minute: rates, quantiles, gauges
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.instruments import Instrument, InstrumentKind
from gateway.telemetry.metrics.merge import Buckets, Merged, Value
from gateway.telemetry.metrics.minute import Minute
from gateway.telemetry.metrics.registry import Labels

STEP_S = 5.0
"""Interval at which `add` should be called."""
_FINE = 60
_STEPS_A_MINUTE = 12
_MINUTES = 60
_SERIES_A_STEP = 2_000

KEPT = (
    table.HTTP_DURATION,
    table.REQUESTS,
    table.ERRORS,
    table.CLIENT_ABORTS,
    table.OPERATION_DURATION,
    table.FIRST_TOKEN,
    table.PER_TOKEN,
    table.TOKENS,
    table.COST,
    table.TENANT_REQUESTS,
    table.TENANT_FIRST_TOKEN,
    table.TENANT_PER_TOKEN,
    table.QUEUE_WAIT,
    table.LIMIT_DECISIONS,
    table.FALLBACKS,
    table.UPSTREAM_REQUESTS,
    table.RETRIES,
    table.STALLS,
)
"""The counters and histograms that are stored."""
GAUGES = (
    table.ACTIVE_REQUESTS,
    table.ACTIVE_STREAMS,
    table.SILENT_STREAMS,
    table.CONNECTIONS,
    table.QUEUE_DEPTH,
    table.UPSTREAM_PENDING,
    table.JOURNAL_BYTES,
    table.LOOP_LAG,
    table.MEMORY,
)
"""The gauges that are stored, summed over all labels. Of a PEAK, the maximum is stored."""

Where = Callable[[Mapping[str, str]], bool]


def _anything(labels: Mapping[str, str]) -> bool:
    return True


@dataclass(slots=True)
class Step:
    """The increase in a period, and the gauges at its end."""

    at: float
    """End of the period, in seconds since the epoch."""
    seconds: float
    added: Merged = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    minute: Minute | None = None
    """Cache of what `minutes.minute_of` computes from this step."""


class History:
    """The history of one gateway."""

    def __init__(self, on_minute: Callable[[Step], None] = lambda _: None) -> None:
        """`on_minute` is called with the increase of each complete minute."""
        self._on_minute = on_minute
        self._fine: deque[Step] = deque(maxlen=_FINE)
        self._minutes: deque[Step] = deque(maxlen=_MINUTES)
        self._minute: list[Step] = []
        self._last: tuple[float, Merged] | None = None

    def add(self, now: float, merged: Merged) -> None:
        """Store the increase since the last call. `now` is in seconds since the epoch."""
        totals = {one.name: merged[one.name] for one in KEPT if one.name in merged}
        last, self._last = self._last, (now, totals)
        if last is None or now <= last[0]:
            return
        step = Step(now, now - last[0], _added(last[1], totals), _gauges(merged))
        self._fine.append(step)
        self._minute.append(step)
        if len(self._minute) >= _STEPS_A_MINUTE:
            self.end_minute()

    def end_minute(self) -> None:
        """End the current minute, complete or not."""
        if self._minute:
            self._minutes.append(_joined(self._minute))
            self._minute = []
            self._on_minute(self._minutes[-1])

    def fine(self) -> list[Step]:
        """Return the steps of the last five minutes, oldest first."""
        return list(self._fine)

    def begun(self) -> Step | None:
        """Return the part of the current minute that has passed, or None."""
        return _joined(self._minute) if self._minute else None

    @property
    def steps(self) -> int:
        """Number of steps that are kept."""
        return len(self._fine) + len(self._minute) + len(self._minutes)

    def window(self, seconds: float) -> Window:
        """Return the last `seconds` seconds, an hour at most."""
        fine = list(self._fine)
        if not fine:
            return Window([])
        since = fine[-1].at - seconds
        if fine[0].at - fine[0].seconds <= since + STEP_S or not self._minutes:
            return Window([step for step in fine if step.at > since])
        steps = [step for step in self._minutes if step.at > since]
        return Window([*steps, *self._minute])

    def points(self) -> list[Step]:
        """Return the minutes of the last hour, oldest first. The last one may be incomplete."""
        begun = self.begun()
        return [*self._minutes, *([] if begun is None else [begun])]

    @property
    def gauges(self) -> Mapping[str, float]:
        """Latest gauges by metric name, summed over all labels."""
        return self._fine[-1].gauges if self._fine else {}


class Window:
    """A period in the past: increases by metric and labels."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.seconds = sum(step.seconds for step in steps)
        """Length of the period; shorter than requested soon after a start."""
        self._steps = steps

    def total(self, instrument: Instrument, where: Where = _anything) -> float:
        """Return the increase of a counter, or the number of new values of a histogram."""
        return sum(_count(value) for _, value in self._found(instrument, where))

    def rate(self, instrument: Instrument, where: Where = _anything) -> float:
        """Return `total` per second."""
        return self.total(instrument, where) / self.seconds if self.seconds else 0.0

    def total_by(
        self, instrument: Instrument, label: str, where: Where = _anything
    ) -> dict[str, float]:
        """Return the increase of a counter by the value of a label."""
        place = instrument.labels.index(label)
        totals: dict[str, float] = {}
        for labels, value in self._found(instrument, where):
            totals[labels[place]] = totals.get(labels[place], 0.0) + _count(value)
        return totals

    def rate_by(
        self, instrument: Instrument, label: str, where: Where = _anything
    ) -> dict[str, float]:
        """Return `total_by` per second."""
        seconds = self.seconds
        totals = self.total_by(instrument, label, where)
        return {name: total / seconds for name, total in totals.items()} if seconds else {}

    def quantiles(self, instrument: Instrument, shares: Sequence[float]) -> list[float] | None:
        """Return quantiles of a histogram's values, computed as in Prometheus' histogram_quantile.
        Return None if there are no values.
        """
        counts = self.buckets(instrument)
        if counts is None:
            return None
        return [quantile(share, instrument.buckets, counts) for share in shares]

    def buckets(self, instrument: Instrument) -> list[int] | None:
        """Return the number of a histogram's values in each bucket, or None without values."""
        whole = Buckets(0.0, [0] * (len(instrument.buckets) + 1))
        for _, value in self._found(instrument):
            if isinstance(value, Buckets):
                whole.add(value)
        return whole.counts if whole.count else None

    def quantiles_by(
        self, instrument: Instrument, label: str, shares: Sequence[float]
    ) -> dict[str, list[float]]:
        """Return the quantiles by the value of a label."""
        place = instrument.labels.index(label)
        wholes: dict[str, Buckets] = {}
        for labels, value in self._found(instrument):
            if isinstance(value, Buckets):
                empty = Buckets(0.0, [0] * len(value.counts))
                wholes.setdefault(labels[place], empty).add(value)
        return {
            name: [quantile(share, instrument.buckets, whole.counts) for share in shares]
            for name, whole in wholes.items()
            if whole.count
        }

    def _found(
        self, instrument: Instrument, where: Where = _anything
    ) -> list[tuple[Labels, Value]]:
        names = instrument.labels
        return [
            (labels, value)
            for step in self._steps
            for labels, value in step.added.get(instrument.name, {}).items()
            if where is _anything or where(dict(zip(names, labels, strict=True)))
        ]


def quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float:
    """Return the value below which `share` of the values lie, interpolated linearly in a bucket.

    `counts` has one bucket more than there are bounds. Values in that bucket count as the last
    bound.
    """
    rank = share * sum(counts)
    below = 0
    for index, upto in enumerate(accumulate(counts)):
        if upto >= rank and upto > below:
            if index == len(bounds):
                return bounds[-1]
            low = bounds[index - 1] if index else 0.0
            return low + (bounds[index] - low) * (rank - below) / (upto - below)
        below = upto
    return bounds[-1]


def _count(value: Value) -> float:
    return value.count if isinstance(value, Buckets) else value


def _added(before: Merged, now: Merged) -> Merged:
    """Return the increase from `before` to `now`. A counter that was reset counts in full."""
    found: list[tuple[float, str, Labels, Value]] = []
    for name, series in now.items():
        known = before.get(name, {})
        for labels, value in series.items():
            added = _difference(known.get(labels), value)
            size = _count(added)
            if size > 0:
                found.append((size, name, labels, added))
    if len(found) > _SERIES_A_STEP:
        found = sorted(found, key=lambda one: one[0], reverse=True)[:_SERIES_A_STEP]
    merged: Merged = {}
    for _, name, labels, added in found:
        merged.setdefault(name, {})[labels] = added
    return merged


def _difference(before: Value | None, now: Value) -> Value:
    if isinstance(now, Buckets):
        was = before.counts if isinstance(before, Buckets) else [0] * len(now.counts)
        counts = [a - b for a, b in zip(now.counts, was, strict=True)]
        if min(counts) < 0 or not isinstance(before, Buckets):
            return Buckets(now.sum, list(now.counts))
        return Buckets(now.sum - before.sum, counts)
    assert not isinstance(before, Buckets)
    return now - before if before is not None and before <= now else now


def _gauges(merged: Merged) -> dict[str, float]:
    found = {}
    for one in GAUGES:
        values = [value for value in merged.get(one.name, {}).values() if isinstance(value, float)]
        if values:
            found[one.name] = max(values) if one.kind is InstrumentKind.PEAK else sum(values)
    return found


def _joined(steps: Sequence[Step]) -> Step:
    """Join several steps into one: the sum of the increases, and the highest gauges."""
    whole = Step(steps[-1].at, sum(step.seconds for step in steps))
    for step in steps:
        for name, value in step.gauges.items():
            whole.gauges[name] = max(value, whole.gauges.get(name, value))
        for name, series in step.added.items():
            mine = whole.added.setdefault(name, {})
            for labels, added in series.items():
                known = mine.get(labels)
                if isinstance(added, Buckets):
                    if isinstance(known, Buckets):
                        known.add(added)
                    else:
                        mine[labels] = added.copy()
                else:
                    assert not isinstance(known, Buckets)
                    mine[labels] = added + (known or 0.0)
    return whole
