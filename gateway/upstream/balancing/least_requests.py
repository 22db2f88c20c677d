"""Least requests: the less busy of two random endpoints (power of two choices)."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate

from gateway.upstream.balancing.balancer import Candidate, Hint


class LeastRequests:
    """Draw two endpoints by weight and use the one with fewer requests for its weight.

    Two are compared instead of all (Mitzenmacher 2001) because each worker counts only its own
    requests: if all workers compared all endpoints, they would all pick the same one.
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        """Random number in [0, 1)."""
        self._seen: Sequence[Candidate] = ()
        self._bounds: list[float] = []
        """Running totals of the weights in `_seen`, a tuple."""

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Return the index of the less busy one. Of two that are equally busy, the first drawn."""
        last = len(candidates) - 1
        if not last:
            return 0
        if candidates is self._seen:
            bounds = self._bounds
        else:
            bounds = list(accumulate(candidate.weight for candidate in candidates))
            if isinstance(candidates, tuple):
                self._seen, self._bounds = candidates, bounds
        total = bounds[last]
        first = bisect(bounds, self._draw() * total, 0, last)
        second = 1 - first if last == 1 else self._another(bounds, first)
        one, other = candidates[first], candidates[second]
        # Compares (in_flight + 1) / weight of both, without the divisions.
        if (other.in_flight + 1) * one.weight < (one.in_flight + 1) * other.weight:
            return second
        return first

    def _another(self, bounds: list[float], first: int) -> int:
        """Draw by weight from all endpoints but `first`, by cutting its interval out."""
        last = len(bounds) - 1
        start = bounds[first - 1] if first else 0.0
        stretch = bounds[first] - start
        point = self._draw() * (bounds[last] - stretch)
        # The bounds of each search keep the result valid despite rounding errors.
        if first == last or point < start:
            return bisect(bounds, point, 0, first - 1)
        return bisect(bounds, point + stretch, first + 1, last)
