"""Which endpoint is next, by each policy that does not look into bodies."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.balancing.balancer import Balancer, Candidate, Hint
from gateway.upstream.balancing.consistent_hash import ConsistentHash
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.balancing.prefix_affinity import PrefixAffinity
from gateway.upstream.balancing.rendezvous import with_room
from gateway.upstream.balancing.round_robin import RoundRobin
from gateway.upstream.balancing.weighted_random import Random
from tests.support.endpoints import Server, crowds, has_room, picked, servers, whole_weights

NOTHING = Hint()
draws = st.sampled_from([0.0, 1 - 2**-53]) | st.floats(0, 1, exclude_max=True)
any_weights = st.floats(1e-6, 1e6)
hints = st.builds(
    Hint,
    key=st.none() | st.text(st.characters(exclude_categories=())),
    body=st.none() | st.binary() | st.binary().map(lambda rest: b'{"messages":["' + rest),
)


def evenly(count: int) -> Callable[[], float]:
    """Draws that fall once into each of `count` equal parts."""
    return ((number + 0.5) / count for number in itertools.count()).__next__


@given(
    st.lists(
        st.tuples(
            st.lists(
                st.builds(Server, st.sampled_from("abcdefgh"), any_weights, st.integers(0, 2**31)),
                min_size=1,
                unique_by=lambda server: server.key,
            ),
            hints,
        ),
        max_size=10,
    )
)
def test_whatever_the_candidates_one_of_them_is_picked(
    calls: list[tuple[list[Server], Hint]],
) -> None:
    balancers: list[Balancer] = [
        LeastRequests(),
        RoundRobin(),
        Random(),
        ConsistentHash(),
        PrefixAffinity(),
    ]
    for candidates, hint in calls:
        for balancer in balancers:
            assert 0 <= balancer.pick(candidates, hint) < len(candidates)


# -- random ---------------------------------------------------------------------------------------


@given(st.lists(any_weights, min_size=1, max_size=20))
def test_random_gives_each_its_share(weights: list[float]) -> None:
    candidates = servers(len(weights), weights=weights)
    balancer = Random(evenly(1000))
    found = Counter(balancer.pick(candidates, NOTHING) for _ in range(1000))
    for index, weight in enumerate(weights):
        assert abs(found[index] - 1000 * weight / sum(weights)) <= 2


# -- least requests -------------------------------------------------------------------------------


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


# -- round robin ----------------------------------------------------------------------------------


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
    assert len(balancer._credits) < 100


# -- consistent hash ------------------------------------------------------------------------------


def homes(candidates: list[Server], keys: Iterable[int] = range(2000)) -> dict[str, str]:
    """Of each key, while nobody is busy."""
    balancer = ConsistentHash()
    return {str(key): picked(balancer, candidates, Hint(key=str(key))) for key in keys}


def test_a_key_has_one_home_whatever_the_order_and_the_process() -> None:
    candidates = servers(5)
    assert homes(candidates) == homes(candidates[::-1])
    # Not to be changed: replicas of two releases serve side by side during an upgrade.
    assert [homes(candidates)[str(key)][14] for key in range(12)] == list("431101241212")


@settings(max_examples=30)
@given(st.lists(whole_weights, min_size=1, max_size=12), st.integers(0, 2**32))
def test_homes_are_shared_by_weight(weights: list[float], start: int) -> None:
    candidates = servers(len(weights), weights=weights)
    found = Counter(homes(candidates, range(start, start + 2000)).values())
    for server in candidates:
        share = server.weight / sum(weights)
        # Six standard deviations.
        assert abs(found[server.key] - 2000 * share) < 6 * (2000 * share * (1 - share)) ** 0.5 + 1


@settings(max_examples=20)
@given(st.integers(2, 20), st.data())
def test_only_the_keys_of_one_that_leaves_or_joins_move(count: int, data: st.DataObject) -> None:
    whole = servers(count)
    away = data.draw(st.sampled_from(whole))
    before, after = homes(whole), homes([one for one in whole if one is not away])
    moved = {key for key in before if before[key] != after[key]}
    assert moved == {key for key, home in before.items() if home == away.key}
    assert len(moved) / len(before) == pytest.approx(1 / count, rel=0.5)


@settings(max_examples=20)
@given(st.integers(2, 20), st.floats(0.01, 1))
def test_one_that_gains_weight_takes_keys_and_gives_none(count: int, weight: float) -> None:
    before = homes(servers(count, weights=[weight, *[1.0] * (count - 1)]), range(500))
    after = homes(servers(count), range(500))
    gaining = servers(1)[0].key
    assert all(home == after[key] or after[key] == gaining for key, home in before.items())


@settings(max_examples=50)
@given(crowds, st.text())
def test_nobody_gets_more_than_a_quarter_above_its_share(
    candidates: list[Server], key: str
) -> None:
    for _ in range(10):
        server = candidates[ConsistentHash().pick(candidates, Hint(key=key))]
        assert has_room(server, candidates)
        server.in_flight += 1


@given(st.lists(st.tuples(any_weights, st.integers(0, 2**31)), min_size=1, max_size=64))
def test_somebody_always_has_room(found: list[tuple[float, int]]) -> None:
    candidates: list[Candidate] = [Server(str(n), *one) for n, one in enumerate(found)]
    assert with_room(candidates)


def test_a_key_whose_home_is_full_goes_where_it_would_without_it() -> None:
    candidates = servers(6)
    balancer = ConsistentHash()
    for key in map(str, range(100)):
        hint = Hint(key=key)
        home = candidates[balancer.pick(candidates, hint)]
        home.in_flight = 1
        elsewhere = picked(balancer, candidates, hint)
        assert elsewhere == picked(balancer, [one for one in candidates if one is not home], hint)
        home.in_flight = 0
        assert picked(balancer, candidates, hint) == home.key


def test_with_more_slack_a_home_is_full_later() -> None:
    candidates = servers(4)
    balancer = ConsistentHash(slack=2.0)
    hint = Hint(key="k")
    home = balancer.pick(candidates, hint)
    for server in candidates:
        server.in_flight = 10
    candidates[home].in_flight = 19
    assert has_room(candidates[home], candidates, "2")
    assert balancer.pick(candidates, hint) == home
    candidates[home].in_flight = 40
    assert balancer.pick(candidates, hint) != home


def test_without_a_key_the_less_busy_is_picked() -> None:
    candidates = [Server("a", 1, 3), Server("b", 1, 2)]
    assert ConsistentHash().pick(candidates, NOTHING) == 1


_ELSEWHERE = """
from tests.support.endpoints import picked, servers
from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.balancing.consistent_hash import ConsistentHash
from gateway.upstream.balancing.prefix_affinity import PrefixAffinity
for key in range(200):
    body = b'{"messages":[{"role":"user","content":"%d"}]}' % key
    print(picked(ConsistentHash(), servers(7), Hint(key=str(key))))
    print(picked(PrefixAffinity(), servers(7), Hint(body=body)))
"""


def test_processes_agree(request: pytest.FixtureRequest) -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", _ELSEWHERE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=request.config.rootpath,
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert len(set(next(iter(said)).split())) == 7
