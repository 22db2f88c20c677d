"""Smooth weighted round robin."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.balancing.round_robin import RoundRobin
from tests.support.endpoints import Server, picked, servers, whole_weights

NOTHING = Hint()


def test_turns_are_smooth() -> None:
    balancer = RoundRobin()
    candidates = [Server("a", 5), Server("b"), Server("c")]
    assert "".join(picked(balancer, candidates, NOTHING) for _ in range(14)) == "aabacaa" * 2


@given(st.lists(whole_weights, min_size=1, max_size=8))
def test_each_round_gives_each_exactly_its_weight(weights: list[float]) -> None:
    balancer = RoundRobin()
    candidates = servers(len(weights), weights=weights)
    for _ in range(3):
        found = Counter(balancer.pick(candidates, NOTHING) for _ in range(int(sum(weights))))
        assert [found[index] for index in range(len(weights))] == weights


@given(
    st.lists(whole_weights, min_size=2, max_size=6),
    st.lists(st.sets(st.integers(0, 5), min_size=1), max_size=200),
)
def test_shares_are_right_again_after_any_coming_and_going(
    weights: list[float], present: list[set[int]]
) -> None:
    balancer = RoundRobin()
    everybody = servers(len(weights), weights=weights)
    for indexes in present:
        some = [one for index, one in enumerate(everybody) if index in indexes]
        if some:
            balancer.pick(some, NOTHING)
    rounds = 20
    found = Counter(balancer.pick(everybody, NOTHING) for _ in range(rounds * int(sum(weights))))
    for index, weight in enumerate(weights):
        assert abs(found[index] - rounds * weight) <= 2 * len(weights)


def test_an_endpoint_that_was_away_does_not_catch_up() -> None:
    balancer = RoundRobin()
    candidates = servers(3)
    for _ in range(100):
        balancer.pick(candidates[:2], NOTHING)
    found = Counter(balancer.pick(candidates, NOTHING) for _ in range(6))
    assert max(found.values()) <= 3


def test_a_share_that_grows_counts_from_then_on() -> None:
    balancer = RoundRobin()
    slow, other = Server("slow", 0.1), Server("other")
    first = Counter(picked(balancer, [slow, other], NOTHING) for _ in range(110))
    slow.weight = 1
    then = Counter(picked(balancer, [slow, other], NOTHING) for _ in range(110))
    assert abs(first["slow"] - 10) <= 1
    assert abs(then["slow"] - 55) <= 1


def test_endpoints_that_never_come_back_are_forgotten() -> None:
    balancer = RoundRobin()
    for number in range(1000):
        balancer.pick([Server(f"{number}-{name}") for name in "abc"], NOTHING)
    assert balancer.endpoints < 100
