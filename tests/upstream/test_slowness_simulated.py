"""Ejection for slowness against simulated model servers: the balancer and the detector are real,
the servers and the clock are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gateway.upstream.balancing.balancer import Balancer
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.balancing.round_robin import RoundRobin
from gateway.upstream.balancing.weighted_random import Random
from gateway.upstream.health import EndpointState
from tests.support.figures import Report
from tests.support.model_servers import (
    SECONDS_OF_WORK,
    Ask,
    ModelServer,
    World,
    arrivals,
    bursts,
)

Policy = Callable[[Callable[[], float]], Balancer]
LONG_S = 10_000.0


def in_turn(_: Callable[[], float]) -> Balancer:
    return RoundRobin()


class Lopsided(Random):
    """Four of five requests to the first endpoint, as a hash over few users may do."""

    def pick(self, candidates, hint):  # type: ignore[no-untyped-def]
        return 0 if self._draw() < 0.8 else super().pick(candidates, hint)


def world(count: int, seed: int, balancer: Policy = LeastRequests, workers: int = 1) -> World:
    servers = [ModelServer() for _ in range(count)]
    return World(servers, seed=seed, balancer=balancer, workers=workers)


def load(one: World, utilisation: float) -> Iterator[tuple[float, Ask]]:
    """Arrivals that keep this share of all slots busy."""
    slots = sum(server.slots for server in one.servers)
    return arrivals(one.random, utilisation * slots / SECONDS_OF_WORK)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("utilisation", [0.3, 0.95])
def test_identical_servers_are_never_ejected(count: int, utilisation: float) -> None:
    one = world(count, seed=count)
    one.offer(load(one, utilisation))
    one.run(LONG_S)
    assert one.answered > 1000
    assert one.reasons == []


@pytest.mark.parametrize("count", [2, 3])
def test_bursts_into_the_slots_of_identical_servers_eject_none(count: int) -> None:
    """Each burst is four times what there are slots for, beside steady traffic."""
    one = world(count, seed=10 + count)
    size = 16 * count
    one.offer(bursts(one.random, 2 * size * SECONDS_OF_WORK / (4 * count), size))
    one.offer(load(one, 0.3))
    one.run(LONG_S)
    assert one.answered > 1000
    assert one.reasons == []


@pytest.mark.parametrize("policy", [in_turn, Random, Lopsided])
def test_no_way_of_balancing_has_identical_servers_ejected(policy: Policy) -> None:
    one = world(2, seed=20, balancer=policy)
    one.offer(load(one, 0.6))  # the lopsided one's first server is saturated
    one.run(LONG_S)
    assert one.reasons == []


def test_queues_that_other_workers_fill_have_identical_servers_not_ejected() -> None:
    one = world(2, seed=30, workers=4)
    one.offer(load(one, 0.5))
    one.offer(bursts(one.random, 200.0, 16))
    one.run(LONG_S)
    assert one.reasons == []


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_server_that_is_ten_times_slower_is_ejected(count: int, report: Report) -> None:
    took_s = []
    for seed in range(3):
        one = world(count, seed)
        one.servers[1].slowdown = 10.0
        one.offer(load(one, 0.4))
        one.run(600.0)
        took_s.append(one.ejected_at(1)[0])
        assert {which for _, which, state in one.states if state is EndpointState.EJECTED} == {1}
    report("F28", f"s until the slow one of {count} is ejected, at most", max(took_s))


def test_a_server_that_begins_late_is_ejected_once_ten_answers_in_a_row_do() -> None:
    one = world(2, seed=0)
    one.servers[1].start_s = 3.0  # and is as quick as the other from then on
    one.offer((2.0, Ask(1000, 10)) for _ in range(1000))
    while not one.reasons:
        one.run(one.now + 1.0)
    # Those that came before there was enough to compare them with did not count.
    assert 10 <= one.begun[1] <= 15
    assert one.reasons == ["slow: first byte 3 s against 0.12 s of its siblings; 30 s left"]


def test_a_server_that_recovers_comes_back_and_stays() -> None:
    one = world(2, seed=3)
    one.servers[1].slowdown = 10.0
    one.offer(load(one, 0.4))
    one.run(600.0)
    assert one.ejected_at(1)
    one.servers[1].slowdown = 1.0
    one.run(1500.0)
    answered, changes = one.answered, len(one.states)
    assert one.states[-1][1:] == (1, EndpointState.HEALTHY)
    one.run(LONG_S)
    assert len(one.states) == changes
    assert one.answered > answered
