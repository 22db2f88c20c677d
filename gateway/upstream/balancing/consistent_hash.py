"""The same key to the same endpoint."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gateway.upstream.balancing.balancer import Candidate, Hint
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.balancing.rendezvous import SLACK, Rendezvous, digest, with_room


class ConsistentHash:
    """A key's home, or the next in its order while that has `slack` times its share in flight.

    A request without a key goes to the less busy of two.
    """

    def __init__(self, *, slack: float = SLACK, draw: Callable[[], float] = random.random) -> None:
        self._slack = slack
        self._rendezvous = Rendezvous()
        self._keyless = LeastRequests(draw)

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """The same in every worker and replica, but for what each has in flight."""
        if hint.key is None:
            return self._keyless.pick(candidates, hint)
        free = with_room(candidates, self._slack)
        return self._rendezvous.nearest(digest(hint.key), candidates, free)
