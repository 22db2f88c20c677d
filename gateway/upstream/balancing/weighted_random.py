"""Random choice by weight."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate

from gateway.upstream.balancing.balancer import Candidate, Hint


class Random:
    """Each endpoint with a probability as its weight, whatever it has to do already."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        """A number from 0 up to but not including 1."""

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Independent of every pick before."""
        bounds = list(accumulate(candidate.weight for candidate in candidates))
        last = len(bounds) - 1
        return bisect(bounds, self._draw() * bounds[last], 0, last)
