"""Cost: the cheapest endpoints, and of several that cost the same the less busy."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.upstream.balancing.balancer import Candidate, Hint
from gateway.upstream.balancing.least_requests import LeastRequests


class Cheapest:
    """Use an endpoint of the least cost. A dearer one is used only if no cheaper one may be."""

    def __init__(self) -> None:
        self._least_requests = LeastRequests()

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Return the index of the endpoint to use."""
        least = min(candidate.cost for candidate in candidates)
        cheap = [index for index, one in enumerate(candidates) if one.cost == least]
        if len(cheap) == 1:
            return cheap[0]
        return cheap[self._least_requests.pick([candidates[index] for index in cheap], hint)]
