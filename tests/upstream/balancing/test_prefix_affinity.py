"""A conversation goes on where its prefix is cached, unless that has too much to do."""

from __future__ import annotations

import json
import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.conversations import Outcome, Replay, imbalance, made_up
from gateway.upstream.balancing.balancer import Balancer, Hint
from gateway.upstream.balancing.prefix_affinity import PrefixAffinity
from gateway.upstream.balancing.weighted_random import Random
from tests.support.endpoints import Server, crowds, has_room, picked, servers
from tests.support.figures import Report

SYSTEM = "You are a helpful assistant. " * 100
Message = dict[str, str]


def said(role: str, *words: object) -> Message:
    return {"role": role, "content": " ".join(map(str, words)) * 100}


def ask(*messages: Message) -> Hint:
    """A request with the system prompt that all have, and these."""
    whole = [{"role": "system", "content": SYSTEM}, *messages]
    return Hint(body=json.dumps({"model": "m", "messages": whole, "stream": True}).encode())


def turns(name: object, count: int = 5) -> list[Hint]:
    """Each request of one conversation."""
    messages: list[Message] = []
    found = []
    for number in range(count):
        messages.append(said("user", name, "asks", number))
        found.append(ask(*messages))
        messages.append(said("assistant", name, "hears", number))
    return found


def test_a_conversation_stays_where_it_is() -> None:
    balancer, candidates = PrefixAffinity(), servers(4)
    whole = [turns(name) for name in range(50)]
    for conversation in whole:
        assert len({picked(balancer, candidates, hint) for hint in conversation}) == 1


def test_workers_find_its_home_without_what_the_others_remember() -> None:
    candidates = servers(4)
    for name in range(50):
        assert len({picked(PrefixAffinity(), candidates, hint) for hint in turns(name)}) == 1


def test_conversations_with_one_beginning_are_spread_though_nobody_is_busy() -> None:
    balancer, candidates = PrefixAffinity(), servers(4)
    hints = [ask({"role": "user", "content": f"{name}?"}) for name in range(400)]
    found = Counter(balancer.pick(candidates, hint) for hint in hints)
    assert imbalance([found[index] for index in range(4)]) < 1.5


def test_a_conversation_goes_on_where_it_had_to_move() -> None:
    balancer, candidates = PrefixAffinity(pioneers=10**9), servers(4)
    first, second, third, fourth, _ = turns("a")
    home = candidates[balancer.pick(candidates, first)]
    home.in_flight = 5
    elsewhere = picked(balancer, candidates, second)
    assert elsewhere != home.key
    home.in_flight = 0
    assert picked(balancer, candidates, third) == elsewhere
    assert picked(balancer, candidates, fourth) == elsewhere


def test_if_the_longest_prefix_is_on_a_busy_one_the_next_longest_counts() -> None:
    balancer, candidates = PrefixAffinity(pioneers=10**9), servers(8)
    hints = turns("a")
    home = candidates[balancer.pick(candidates, hints[2])]
    home.in_flight = 5
    elsewhere = candidates[balancer.pick(candidates, hints[3])]
    home.in_flight, elsewhere.in_flight = 0, 5
    assert picked(balancer, candidates, hints[4]) == home.key


def test_too_short_a_prefix_does_not_count() -> None:
    candidates = servers(8)
    after = {}
    for threshold in (0.0, 1.0):
        balancer = PrefixAffinity(threshold=threshold, pioneers=10**9)
        only = picked(balancer, candidates[:1], ask())
        hints = [ask(said("user", name)) for name in range(40)]
        after[threshold] = {picked(balancer, candidates, hint) == only for hint in hints}
    assert after == {0.0: {True}, 1.0: {True, False}}


def test_one_that_is_away_is_forgotten_where_its_conversations_go_on() -> None:
    balancer, candidates = PrefixAffinity(pioneers=10**9), servers(4)
    first, second, third, *_ = turns("a")
    home = balancer.pick(candidates, first)
    others = [one for index, one in enumerate(candidates) if index != home]
    elsewhere = picked(balancer, others, second)
    assert picked(balancer, candidates, third) == elsewhere
    assert picked(balancer, candidates, first) == elsewhere


def test_endpoints_that_never_come_back_are_forgotten() -> None:
    balancer, fresh = PrefixAffinity(), PrefixAffinity()
    before, then = turns("a")[-1], turns("b")[-1]
    balancer.pick(servers(3), before)
    for number in range(1000):
        balancer.pick([Server(f"{number}-{name}") for name in "abc"], then)
        assert balancer.endpoints <= 260
    fresh.pick(servers(3), then)
    assert len(balancer) == len(fresh)


@settings(max_examples=30)
@given(
    st.integers(1, 300),
    st.integers(1, 64),
    st.lists(st.integers(0, 20), min_size=1, max_size=30),
)
def test_no_more_is_remembered_than_allowed(
    max_entries: int, max_blocks: int, names: list[int]
) -> None:
    balancer = PrefixAffinity(max_entries=max_entries, max_blocks=max_blocks, block_bytes=64)
    candidates = servers(3)
    for name in names:
        for hint in turns(name, 2):
            balancer.pick(candidates, hint)
            assert len(balancer) <= max_entries


def test_what_was_not_asked_for_longest_is_forgotten() -> None:
    balancer = PrefixAffinity(max_entries=40, threshold=1.0, pioneers=10**9)
    candidates = servers(8)
    kept, forgotten = turns("kept")[0], turns("forgotten")[0]
    away = picked(balancer, candidates[:1], kept)
    assert picked(balancer, candidates[:1], forgotten) == away
    for name in range(20):
        balancer.pick(candidates[1:], turns(name)[0])
        assert picked(balancer, candidates, kept) == away
    assert picked(balancer, candidates, forgotten) != away


@settings(max_examples=50)
@given(crowds, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=20))
def test_nobody_gets_more_than_a_quarter_above_its_share(
    candidates: list[Server], asked: list[tuple[int, int]]
) -> None:
    balancer = PrefixAffinity()
    for name, number in asked:
        server = candidates[balancer.pick(candidates, turns(name)[number])]
        assert has_room(server, candidates)
        server.in_flight += 1


@given(
    st.lists(
        st.binary(max_size=3000)
        | st.tuples(
            st.sampled_from([b'{"messages":[{"role":"user",', b'{"prompt":"', b'{"system":"']),
            st.binary(max_size=3000),
        ).map(b"".join),
        min_size=1,
        max_size=4,
    )
)
def test_any_bytes_will_do(bodies: list[bytes]) -> None:
    balancer, candidates = PrefixAffinity(block_bytes=64), servers(5)
    for body in bodies:
        first, second = (picked(balancer, candidates, Hint("k", body)) for _ in range(2))
        assert first == second


def test_without_a_prompt_it_is_the_key_that_counts_and_without_that_the_load() -> None:
    balancer, candidates = PrefixAffinity(), servers(4)
    for body in (None, b"", b'{"model":"m"}', b"\xff" * 9999):
        hints = [Hint(str(key), body) for key in range(40)]
        found = [picked(balancer, candidates, hint) for hint in hints]
        assert found == [picked(PrefixAffinity(), candidates, hint) for hint in hints]
        assert len(set(found)) == 4
        busy = [Server("a", 1, 3), Server("b", 1, 2)]
        assert picked(balancer, busy, Hint(body=body)) == "b"


def test_it_finds_more_cached_than_chance_and_is_as_even(report: Report) -> None:
    conversations = made_up()
    draw = random.Random(7).random
    policies: dict[str, list[Balancer]] = {
        "random": [Random(draw)],
        "prefix affinity": [PrefixAffinity()],
        "prefix affinity, 2 workers": [PrefixAffinity(), PrefixAffinity()],
    }
    found: dict[str, Outcome] = {}
    for name, balancers in policies.items():
        found[name] = outcome = Replay(conversations, balancers).run()
        report("Balancing", f"{name}: prompt blocks found cached, %", 100 * outcome.cached)
        report("Balancing", f"{name}: busiest / mean, requests", imbalance(outcome.requests))
        report("Balancing", f"{name}: busiest / mean, blocks", imbalance(outcome.blocks))
        assert imbalance(outcome.requests) <= 1.25
        assert imbalance(outcome.blocks) <= 1.25
    # Of what chance leaves to be computed anew, less than half.
    left = 1 - found["random"].cached
    assert 1 - found["prefix affinity"].cached < 0.4 * left
    assert 1 - found["prefix affinity, 2 workers"].cached < 0.5 * left


def test_with_one_at_a_time_nothing_is_computed_twice(report: Report) -> None:
    conversations = made_up(count=200, within_s=10**7)
    outcome = Replay(conversations, [PrefixAffinity()], cache_blocks=10**9).run()
    whole = Replay(conversations, [PrefixAffinity()], endpoints=1, cache_blocks=10**9).run()
    report(
        "Balancing", "one request at a time: prompt blocks found cached, %", 100 * outcome.cached
    )
    assert outcome.cached > whole.cached - 0.01
    assert imbalance(outcome.requests) <= 1.25
