"""Cost: the cheapest endpoint, and of several the less busy."""

from __future__ import annotations

from collections import Counter

from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.balancing.cheapest import Cheapest
from tests.support.endpoints import servers

NOTHING = Hint()


def test_the_cheapest_is_used_however_busy_it_is() -> None:
    found = servers(3)
    found[0].cost, found[1].cost, found[2].cost = 2.0, 0.5, 1.0
    found[1].in_flight = 100
    assert Cheapest().pick(found, NOTHING) == 1


def test_of_several_that_cost_the_same_the_less_busy_is_used() -> None:
    found = servers(3)
    found[0].cost = 2.0
    found[1].in_flight = 1
    seen = Counter(Cheapest().pick(found, NOTHING) for _ in range(50))
    assert set(seen) == {2}
