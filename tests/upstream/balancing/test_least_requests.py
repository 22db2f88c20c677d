"""Least requests: of two endpoints drawn by weight, the less busy for its weight."""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.balancing.least_requests import LeastRequests
from tests.support.endpoints import Server, crowds, servers

NOTHING = Hint()
draws = st.sampled_from([0.0, 1 - 2**-53]) | st.floats(0, 1, exclude_max=True)
any_weights = st.floats(1e-6, 1e6)


def evenly(count: int) -> Callable[[], float]:
    """Draws that fall once into each of `count` equal parts."""
    return ((number + 0.5) / count for number in itertools.count()).__next__


@given(crowds, draws, draws)
def test_the_busiest_for_its_weight_is_never_picked(
    candidates: list[Server], first: float, second: float
) -> None:
    loads = [(one.in_flight + 1) / one.weight for one in candidates]
    index = LeastRequests(iter([first, second]).__next__).pick(candidates, NOTHING)
    if len(candidates) > 1 and sorted(loads)[-1] > sorted(loads)[-2] * 1.0001:
        assert loads[index] < max(loads)


@given(st.lists(any_weights, min_size=3, max_size=6), draws, draws)
def test_two_are_drawn_whatever_the_weights_and_the_draws(
    weights: list[float], first: float, second: float
) -> None:
    drawn = servers(len(weights), weights=weights)
    for index, server in enumerate(drawn):
        others = [one for one in range(len(drawn)) if one != index]
        server.in_flight = 2**60
        balancer = LeastRequests(iter([first, second]).__next__)
        assert balancer.pick(drawn, NOTHING) in others
        server.in_flight = 0


@given(st.lists(st.integers(1, 5), min_size=3, max_size=3))
def test_both_are_drawn_by_weight(weights: list[int]) -> None:
    # The first loses to any other, and the last only to the middle one if both are drawn.
    candidates = servers(3, weights=weights)
    candidates[0].in_flight, candidates[2].in_flight = 2**60, 2**30
    draw = random.Random(1).random
    found = Counter(LeastRequests(draw).pick(candidates, NOTHING) for _ in range(2000))
    a, _, c = (weight / sum(weights) for weight in weights)
    share = a * c / (1 - a) + c * a / (1 - c)
    assert found[2] / 2000 == pytest.approx(share, abs=0.06)


@given(draws)
def test_of_two_the_less_busy_for_its_weight_is_picked(draw: float) -> None:
    balancer = LeastRequests(lambda: draw)
    assert balancer.pick([Server("a", 1, 3), Server("b", 1, 2)], NOTHING) == 1
    assert balancer.pick([Server("a", 4, 3), Server("b", 1, 2)], NOTHING) == 0
    assert balancer.pick([Server("a", 0.1, 0), Server("b", 1, 8)], NOTHING) == 1


def test_equally_busy_ones_are_picked_by_weight() -> None:
    candidates = [Server("a", 3, 2), Server("b", 1, 0)]
    balancer = LeastRequests(evenly(400))
    found = Counter(balancer.pick(candidates, NOTHING) for _ in range(400))
    assert found == {0: 300, 1: 100}


@settings(max_examples=20)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers())
def test_requests_of_one_length_are_shared_by_weight(weights: list[int], seed: int) -> None:
    candidates = servers(len(weights), weights=weights)
    balancer = LeastRequests(random.Random(seed).random)
    under_way: deque[Server] = deque()
    found = Counter[str]()
    for _ in range(100 * sum(weights)):
        server = candidates[balancer.pick(candidates, NOTHING)]
        found[server.key] += 1
        server.in_flight += 1
        under_way.append(server)
        if len(under_way) > 10 * sum(weights):
            under_way.popleft().in_flight -= 1
    for server in candidates:
        assert found[server.key] == pytest.approx(100 * server.weight, rel=0.25)


def test_new_weights_in_a_new_tuple_count() -> None:
    policy = LeastRequests(random.Random(8).random)
    for weights in ([1.0, 1.0, 6.0], [1.0, 1.0, 6.0], [6.0, 1.0, 1.0]):
        candidates = tuple(servers(3, weights=weights))
        picked = Counter(policy.pick(candidates, NOTHING) for _ in range(400))
        assert picked.most_common(1)[0][0] == weights.index(6.0)
