"""Construction of balancers from a `balance` setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from gateway.config import models
from gateway.upstream.balancing.balancer import Balancer
from gateway.upstream.balancing.cheapest import Cheapest
from gateway.upstream.balancing.consistent_hash import ConsistentHash
from gateway.upstream.balancing.fastest import Fastest, first_token, next_token
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.balancing.prefix_affinity import PrefixAffinity
from gateway.upstream.balancing.round_robin import RoundRobin
from gateway.upstream.balancing.weighted_random import Random

_PREFIX_SLACK = 1.5
"""Load that an endpoint may have for the sake of its cache, as a multiple of its fair share."""
_BALANCERS: Mapping[str, Callable[[], Balancer]] = {
    "least_requests": LeastRequests,
    "round_robin": RoundRobin,
    "random": Random,
    "prefix": partial(PrefixAffinity, slack=_PREFIX_SLACK),
    "ttft": partial(Fastest, first_token),
    "tpot": partial(Fastest, next_token),
    "cheapest": Cheapest,
}


def balancer_of(balance: str | models.HashKey) -> Balancer:
    """Return a new balancer."""
    return ConsistentHash() if isinstance(balance, models.HashKey) else _BALANCERS[balance]()


def measures(balance: str | models.HashKey) -> bool:
    """Tell whether the balancer needs to know how fast answers are."""
    return balance in ("ttft", "tpot")
