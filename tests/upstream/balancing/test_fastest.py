"""Latency: the faster endpoint gets more requests, and every one is tried now and then."""

from __future__ import annotations

from collections import Counter

from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.balancing.fastest import Fastest, first_token, next_token
from tests.support.endpoints import Server, servers

NOTHING = Hint()


def timed(*seconds: float, at: float = 0.0) -> list[Server]:
    """Return idle servers whose latest answers took so long to begin; 0 for no answer."""
    found = servers(len(seconds))
    for server, value in zip(found, seconds, strict=True):
        if value:
            server.speed.first_token.add(value, at)
    return found


def test_of_two_the_faster_is_used() -> None:
    balancer = Fastest(first_token, now=lambda: 1.0)
    assert {balancer.pick(timed(0.9, 0.1), NOTHING) for _ in range(20)} == {1}


def test_requests_in_flight_make_an_endpoint_slower() -> None:
    found = timed(0.2, 0.1)
    found[1].in_flight = 3
    balancer = Fastest(first_token, now=lambda: 1.0)
    assert {balancer.pick(found, NOTHING) for _ in range(20)} == {0}


def test_an_endpoint_without_answers_is_tried_with_one_request() -> None:
    found = timed(0.2, 0.0)
    balancer = Fastest(first_token, now=lambda: 1.0)
    assert balancer.pick(found, NOTHING) == 1
    found[1].in_flight = 1
    assert balancer.pick(found, NOTHING) == 0


def test_an_endpoint_that_was_not_asked_for_a_minute_is_tried_again() -> None:
    found = timed(0.1, 0.9)
    found[0].speed.first_token.add(0.1, 70.0)
    assert Fastest(first_token, now=lambda: 71.0).pick(found, NOTHING) == 1


def test_the_slowest_of_many_is_never_used_while_others_are_faster() -> None:
    found = timed(0.1, 0.2, 0.3, 5.0)
    balancer = Fastest(first_token, now=lambda: 1.0)
    seen = Counter(balancer.pick(found, NOTHING) for _ in range(500))
    assert seen[3] == 0
    assert seen[0] > seen[1] > seen[2] > 0


def test_a_weight_makes_an_endpoint_count_as_faster() -> None:
    found = timed(0.2, 0.1)
    found[0].weight = 4.0
    assert Fastest(first_token, now=lambda: 1.0).pick(found, NOTHING) == 0


def test_the_time_for_each_token_is_an_average_of_its_own() -> None:
    found = timed(0.1, 0.9)
    found[0].speed.next_token.add(0.05, 0.0)
    found[1].speed.next_token.add(0.01, 0.0)
    assert Fastest(next_token, now=lambda: 1.0).pick(found, NOTHING) == 1
