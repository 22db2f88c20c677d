"""Turns by weight."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from gateway.upstream.balancing.balancer import Candidate, Hint

_SPARE = 64
"""How many endpoints that are absent keep their place in the order, at least."""


class RoundRobin:
    """Smooth weighted turns: weights 5, 1, 1 give a a b a c a a, as nginx does it.

    Each pick credits every candidate its weight; the one with most credit is taken and pays for
    all. An endpoint that is absent keeps its credit, and one that is new begins with none.
    """

    def __init__(self) -> None:
        self._credits: dict[str, float] = {}

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Among equal credits, the first."""
        credits = self._credits
        total = 0.0
        best, best_key, most = 0, "", -inf
        for index, candidate in enumerate(candidates):
            key, weight = candidate.key, candidate.weight
            total += weight
            credits[key] = credit = credits.get(key, 0.0) + weight
            if credit > most:
                best, best_key, most = index, key, credit
        credits[best_key] = most - total
        if len(credits) > 2 * len(candidates) + _SPARE:
            self._credits = {one.key: credits[one.key] for one in candidates}
        return best
