"""Counts that are added to the registry's series later, many requests at a time.

One value often counts in several histograms: of all and of one tenant, or with the buckets of two
conventions. It is counted once here, and in each of them when the registry is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

from gateway.telemetry.metrics.registry import Distribution


class PartialDistribution:
    """Histogram counts for one or several histograms, whose buckets may differ.

    Hot paths count a value with `counts[bisect_left(bounds, value)] += 1` and `sum += value`.
    """

    __slots__ = ("_targets", "bounds", "counts", "sum")

    def __init__(self, *targets: Distribution) -> None:
        self.bounds = _union(*(target.bounds for target in targets))
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0
        self._targets = targets

    def note(self, value: float, trace_id: str) -> None:
        """Keep a counted value as the exemplar of its buckets."""
        for target in self._targets:
            target.note(value, trace_id)

    def settle(self) -> None:
        """Add the counts to the histograms, and begin again at zero."""
        found = [(index, count) for index, count in enumerate(self.counts) if count]
        if not found:
            return
        for target in self._targets:
            indexes, counts = _indexes(self.bounds, target.bounds), target.counts
            for index, count in found:
                counts[indexes[index]] += count
            target.sum += self.sum
        self.counts = [0] * len(self.counts)
        self.sum = 0.0


@lru_cache
def _union(*bounds: tuple[float, ...]) -> tuple[float, ...]:
    return bounds[0] if len(set(bounds)) == 1 else tuple(sorted(set().union(*bounds)))


@lru_cache
def _indexes(bounds: tuple[float, ...], coarser: tuple[float, ...]) -> Sequence[int]:
    """Return, for each bucket of `bounds`, the bucket of `coarser` that contains it."""
    return [*(bisect_left(coarser, bound) for bound in bounds), len(coarser)]
