"""Consistent hashing: requests with the same key go to the same endpoint."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gateway.upstream.balancing.balancer import Candidate, Hint
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.balancing.rendezvous import SLACK, Rendezvous, digest, with_room


class ConsistentHash:
    """Consistent hashing with bounded load.

    A request goes to the endpoint that its key prefers. If that endpoint already has `slack` times
    its share of the requests in flight, the next one in the key's order gets the request. A request
    without a key goes to the less busy of two random endpoints.
    """

    def __init__(self, *, slack: float = SLACK, draw: Callable[[], float] = random.random) -> None:
        self._slack = slack
        self._rendezvous = Rendezvous()
        self._keyless = LeastRequests(draw)

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Return the same index in every worker and replica, as long as load does not interfere."""
        if hint.key is None:
            return self._keyless.pick(candidates, hint)
        free = with_room(candidates, self._slack)
        return self._rendezvous.nearest(digest(hint.key), candidates, free)
