"""Weighted random choice."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate

from gateway.upstream.balancing.balancer import Candidate, Hint


class Random:
    """Choose each endpoint with a probability proportional to its weight, whatever its load."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        """Random number in [0, 1)."""

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Return a random index, independent of all earlier picks."""
        bounds = list(accumulate(candidate.weight for candidate in candidates))
        last = len(bounds) - 1
        return bisect(bounds, self._draw() * bounds[last], 0, last)
