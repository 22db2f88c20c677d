"""The less busy of two."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate

from gateway.upstream.balancing.balancer import Candidate, Hint


class LeastRequests:
    """Draws two endpoints by weight and takes the one with fewer requests for its weight.

    Two instead of all (Mitzenmacher 2001): each worker counts only its own requests, and if all
    took the one that looks best they would take the same one.
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        """A number from 0 up to but not including 1."""

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Among equally busy ones, by weight."""
        last = len(candidates) - 1
        if not last:
            return 0
        bounds = list(accumulate(candidate.weight for candidate in candidates))
        total = bounds[last]
        first = bisect(bounds, self._draw() * total, 0, last)
        second = 1 - first if last == 1 else self._another(bounds, first)
        one, other = candidates[first], candidates[second]
        # (in_flight + 1) / weight of each, multiplied out.
        if (other.in_flight + 1) * one.weight < (one.in_flight + 1) * other.weight:
            return second
        return first

    def _another(self, bounds: list[float], first: int) -> int:
        """Drawn by weight from all but `first`, by leaving its stretch out."""
        last = len(bounds) - 1
        start = bounds[first - 1] if first else 0.0
        stretch = bounds[first] - start
        point = self._draw() * (bounds[last] - stretch)
        # The limits of each search hold whatever was rounded.
        if first == last or point < start:
            return bisect(bounds, point, 0, first - 1)
        return bisect(bounds, point + stretch, first + 1, last)
