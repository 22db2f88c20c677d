"""Consistent hashing: a key has one home, unless that is full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.balancing.consistent_hash import ConsistentHash
from tests.support.endpoints import Server, crowds, has_room, picked, servers, whole_weights

NOTHING = Hint()


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
