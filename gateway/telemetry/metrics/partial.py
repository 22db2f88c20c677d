"""Counts that are added to the registry's series later, many requests at a time.

One value often counts in several histograms: of all and of one tenant, or with the buckets of two
conventions. It is counted once here, and in each of them when the registry is read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache

from gateway.telemetry.metrics.registry import Distribution


class PartialDistribution:
    """Histogram counts for one or several histograms, whose buckets may differ."""

    __slots__ = ("_bounds", "_counts", "_targets", "sum", "values")

    def __init__(self, *targets: Distribution) -> None:
        self._bounds = _union(*(target.bounds for target in targets))
        self._counts = [0] * (len(self._bounds) + 1)
        self._targets = targets
        self.sum = 0.0
        """Sum of the values that are in buckets."""
        self.values: list[float] = []
        """Values that are in no bucket yet. Hot paths append to it, and see to it that `fold` is
        called before it gets long: many values are put in buckets for a quarter of what each one
        would cost.
        """

    def note(self, value: float, trace_id: str) -> None:
        """Keep a counted value as the exemplar of its buckets."""
        for target in self._targets:
            target.note(value, trace_id)

    def fold(self) -> None:
        """Put the values in their buckets."""
        values, counts, below = self.values, self._counts, 0
        if not values:
            return
        self.sum = sum(values, self.sum)
        values.sort()
        for index, bound in enumerate(self._bounds):
            upto = bisect_right(values, bound, below)
            counts[index] += upto - below
            below = upto
        counts[-1] += len(values) - below
        values.clear()

    def settle(self) -> None:
        """Add the counts to the histograms, and begin again at zero."""
        self.fold()
        found = [(index, count) for index, count in enumerate(self._counts) if count]
        if not found:
            return
        for target in self._targets:
            indexes, counts = _indexes(self._bounds, target.bounds), target.counts
            for index, count in found:
                counts[indexes[index]] += count
            target.sum += self.sum
        self._counts = [0] * len(self._counts)
        self.sum = 0.0


@lru_cache
def _union(*bounds: tuple[float, ...]) -> tuple[float, ...]:
    return bounds[0] if len(set(bounds)) == 1 else tuple(sorted(set().union(*bounds)))


@lru_cache
def _indexes(bounds: tuple[float, ...], coarser: tuple[float, ...]) -> Sequence[int]:
    """Return, for each bucket of `bounds`, the bucket of `coarser` that contains it."""
    return [*(bisect_left(coarser, bound) for bound in bounds), len(coarser)]
