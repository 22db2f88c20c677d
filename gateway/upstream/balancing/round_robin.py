"""Smooth weighted round robin."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from gateway.upstream.balancing.balancer import Candidate, Hint

_SPARE = 64
"""Minimum number of absent endpoints whose credit is kept."""


class RoundRobin:
    """Smooth weighted round robin, as in nginx: weights 5, 1, 1 give a a b a c a a.

    Each pick adds every candidate's weight to its credit. The candidate with the most credit is
    chosen and pays the sum of all weights. An absent endpoint keeps its credit; a new one starts
    with none.
    """

    def __init__(self) -> None:
        self._credits: dict[str, float] = {}

    @property
    def endpoints(self) -> int:
        """Number of endpoints that are remembered."""
        return len(self._credits)

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Return the index with the most credit. Of equal ones, the first."""
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
