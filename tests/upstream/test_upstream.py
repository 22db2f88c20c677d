"""Which endpoint is next: priorities, room, waiting, ejections, panic. No sockets."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from gateway.errors import UpstreamBusy
from gateway.load.turn_writes import TurnWrites
from gateway.upstream.address import parse_address
from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.dialer import Dialer
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import EndpointState, Health, HealthOptions
from gateway.upstream.options import RetryOptions, Timeouts, UpstreamOptions
from gateway.upstream.pool import EndpointPool
from gateway.upstream.upstream import Upstream

TIMEOUTS = Timeouts(1.0, 1.0, 1.0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def endpoint(name: str, *, priority: int = 0, max_requests: int = 100, weight: int = 1) -> Endpoint:
    address = parse_address(f"http://{name}.test", None, None)
    return Endpoint(
        EndpointPool(Dialer(address), max_connections=100, keepalive_s=1.0, writes=TurnWrites()),
        Health(HealthOptions(slow_start_s=0.0)),
        full_weight=weight,
        priority=priority,
        max_requests=max_requests,
        fixed_lines=b"",
    )


def upstream(*endpoints: Endpoint, clock: Clock | None = None, **options: Any) -> Upstream:
    return Upstream(
        "main",
        UpstreamOptions(TIMEOUTS, frozenset(), **options),
        LeastRequests(),
        endpoints,
        now=clock or Clock(),
    )


async def pick(one: Upstream, tried: list[Endpoint] | None = None) -> Endpoint | None:
    return await one.acquire(Hint(), tried or [])


async def reached(one: Upstream, count: int = 20) -> set[Endpoint | None]:
    """Where so many requests at once go; they end."""
    picked = [await pick(one) for _ in range(count)]
    for each in picked:
        if each is not None:
            one.release(each)
    return set(picked)


def fail(one: Upstream, which: Endpoint, times: int = 5) -> None:
    for _ in range(times):
        one.failed(which, "test")


async def test_requests_spread_over_the_endpoints() -> None:
    one = upstream(endpoint("a"), endpoint("b"))
    picked = Counter([await pick(one) for _ in range(10)])
    assert sorted(picked.values()) == [5, 5]


async def test_what_was_tried_is_not_tried_again() -> None:
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b)
    assert await pick(one, [a]) is b
    assert await pick(one, [a, b]) is None
    assert await pick(upstream()) is None


async def test_another_priority_serves_when_the_first_is_out_or_full() -> None:
    clock = Clock()
    a, spare = endpoint("a", max_requests=2), endpoint("spare", priority=1)
    one = upstream(a, spare, clock=clock, panic=0.0)
    assert [await pick(one) for _ in range(3)] == [a, a, spare]
    one.release(a)
    assert await pick(one) is a
    fail(one, a)
    assert one.state(a) is EndpointState.EJECTED
    assert await pick(one) is spare


async def test_when_all_are_full_requests_wait_in_their_order_for_room() -> None:
    a = endpoint("a", max_requests=1)
    one = upstream(a)
    await pick(one)
    order: list[int] = []

    async def wait(number: int) -> None:
        assert await pick(one) is a
        order.append(number)
        one.release(a)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert one.pending == 3
    one.release(a)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]
    assert (a.in_flight, one.pending) == (0, 0)


async def test_too_many_who_wait_and_too_long_a_wait_are_refused() -> None:
    a = endpoint("a", max_requests=1)
    one = upstream(a, pending=1, pending_s=0.02)
    await pick(one)
    first = asyncio.create_task(pick(one))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamBusy):
        await pick(one)
    with pytest.raises(UpstreamBusy):
        await first
    assert (a.in_flight, one.pending) == (1, 0)


async def test_who_gives_up_waiting_gives_its_turn_to_the_next() -> None:
    a = endpoint("a", max_requests=1)
    one = upstream(a)
    await pick(one)
    first, second = asyncio.create_task(pick(one)), asyncio.create_task(pick(one))
    await asyncio.sleep(0)
    one.release(a)  # it is the first one's turn, and at the same moment
    first.cancel()
    assert await second is a
    assert (a.in_flight, one.pending) == (1, 0)


async def test_who_comes_later_does_not_take_the_room_of_who_waits() -> None:
    a = endpoint("a", max_requests=1)
    one = upstream(a)
    await pick(one)
    first, second = asyncio.create_task(pick(one)), asyncio.create_task(pick(one))
    await asyncio.sleep(0)
    one.release(a)
    later = asyncio.create_task(pick(one))
    assert await first is a
    assert (second.done(), later.done(), one.pending) == (False, False, 2)
    one.release(a)
    assert await second is a
    one.release(a)
    assert await later is a


async def test_who_waits_for_another_endpoint_than_is_free_holds_nobody_up() -> None:
    a, b = endpoint("a", max_requests=1), endpoint("b", max_requests=1)
    one = upstream(a, b)
    assert {await pick(one), await pick(one)} == {a, b}
    tried_a = asyncio.create_task(pick(one, [a]))
    await asyncio.sleep(0)
    anything = asyncio.create_task(pick(one))
    await asyncio.sleep(0)
    one.release(a)
    assert await anything is a
    one.release(b)
    assert await tried_a is b


async def test_who_waits_is_told_when_there_is_nobody_left_to_wait_for() -> None:
    a = endpoint("a", max_requests=1)
    one = upstream(a)
    await pick(one)
    waiting = asyncio.create_task(pick(one))
    await asyncio.sleep(0)
    one.drain(a, out=True)
    assert await waiting is None


async def test_nobody_waits_for_an_endpoint_that_is_being_probed() -> None:
    clock = Clock()
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b, clock=clock)
    fail(one, a)
    clock.now = 30.0
    assert await pick(one, [b]) is a
    assert not one.has_other([b])
    assert one.acquire_now(Hint(), [b]) is None
    one.release(a)
    assert one.has_other([b])


async def test_what_an_endpoint_carried_before_is_no_probe() -> None:
    clock = Clock()
    a, b = endpoint("a", max_requests=4), endpoint("b")
    one = upstream(a, b, clock=clock)
    for _ in range(3):
        assert await pick(one, [b]) is a
    fail(one, a)
    clock.now = 30.0
    assert one.acquire_now(Hint(), [b]) is a
    assert one.acquire_now(Hint(), [b]) is None
    for _ in range(4):
        one.release(a)
    assert (a.in_flight, a.carried) == (0, 0)
    assert await pick(one, [b]) is a


async def test_who_does_not_wait_gets_what_has_room_now() -> None:
    a, b = endpoint("a", max_requests=1), endpoint("b", max_requests=1)
    one = upstream(a, b)
    assert await pick(one, [b]) is a
    assert one.acquire_now(Hint(), [a]) is b
    assert one.acquire_now(Hint(), [a]) is None
    assert (a.in_flight, b.in_flight, one.pending) == (1, 1, 0)


async def test_who_waits_is_served_when_an_endpoint_comes_back() -> None:
    a, b = endpoint("a", max_requests=1), endpoint("b", max_requests=1)
    one = upstream(a, b)
    one.drain(b, out=True)
    await pick(one)
    waiting = asyncio.create_task(pick(one))
    await asyncio.sleep(0)
    one.drain(b, out=False)
    assert await waiting is b


async def test_failures_eject_but_not_more_than_a_share_and_always_one() -> None:
    endpoints = [endpoint(name) for name in "abcd"]
    one = upstream(*endpoints)
    for each in endpoints:
        fail(one, each)
    assert [one.state(each) for each in endpoints].count(EndpointState.EJECTED) == 1
    half = upstream(*(fresh := [endpoint(name) for name in "abcd"]), max_ejected=0.5)
    for each in fresh:
        fail(half, each)
    assert [half.state(each) for each in fresh].count(EndpointState.EJECTED) == 2


async def test_an_ejected_endpoint_gets_nothing_then_one_probe_at_a_time() -> None:
    clock = Clock()
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b, clock=clock)
    fail(one, a)
    assert await reached(one) == {b}
    clock.now = 30.0
    picked = [await pick(one) for _ in range(10)]
    assert picked.count(a) == 1
    for _ in range(3):
        one.answered(a)
    assert one.state(a) is EndpointState.HEALTHY
    assert a in [await pick(one) for _ in range(10)]


async def test_its_health_is_that_of_its_endpoints() -> None:
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b, max_ejected=1.0)
    assert one.health() == "up"
    fail(one, a)
    assert one.health() == "degraded"
    fail(one, b)
    assert one.health() == "down"
    assert upstream().health() == "down"


async def test_with_too_few_left_ejected_ones_serve_too() -> None:
    endpoints = [endpoint(name) for name in "abcd"]
    one = upstream(*endpoints, max_ejected=1.0)
    for each in endpoints[:2]:
        fail(one, each)
    assert await reached(one) == set(endpoints[2:])
    assert one.counts.panics == 0
    fail(one, endpoints[2])
    assert one.panicking
    assert await reached(one) == set(endpoints)
    assert one.counts.panics == 1


async def test_one_endpoint_alone_serves_however_it_is() -> None:
    clock = Clock()
    a = endpoint("a")
    one = upstream(a, clock=clock)
    fail(one, a)
    assert await pick(one) is a
    clock.now = 30.0  # half-open: its probes are not all there is
    assert [await pick(one) for _ in range(5)] == [a] * 5
    for _ in range(3):
        one.checked(a, "status 500")
    assert await pick(one) is a


async def test_what_fails_its_checks_serves_only_when_nobody_else_does() -> None:
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b, max_ejected=1.0)
    for _ in range(3):
        one.checked(a, "status 500")
    fail(one, b)
    assert one.panicking
    assert await reached(one) == {b}
    for _ in range(3):
        one.checked(b, "status 500")
    assert await reached(one) == {a, b}


async def test_a_drained_endpoint_gets_nothing_even_alone() -> None:
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b)
    one.drain(a, out=True)
    assert await reached(one) == {b}
    one.drain(b, out=True)
    assert await pick(one) is None


async def test_who_asked_for_a_pause_is_asked_last_and_is_not_ejected() -> None:
    clock = Clock()
    a, spare = endpoint("a"), endpoint("spare", priority=1)
    one = upstream(a, spare, clock=clock)
    one.cool(a, 10.0)
    assert await pick(one) is spare
    assert await pick(one, [spare]) is a
    clock.now = 10.0
    assert await pick(one) is a


def slow(one: Upstream, clock: Clock, which: Endpoint, other: Endpoint) -> None:
    """Let answers of one endpoint begin late until it is ejected, or should be."""
    for _ in range(15):
        clock.now += 3.0
        one.began(other, 0.05, streamed=True)
        one.began(which, 2.0, streamed=True)


async def test_a_slow_endpoint_is_ejected() -> None:
    a, b = endpoint("a"), endpoint("b")
    clock = Clock()
    one = upstream(a, b, clock=clock)
    slow(one, clock, b, a)
    assert one.state(b) is EndpointState.EJECTED
    assert (one.counts.ejected, one.counts.slow) == (1, 1)
    assert b.health.why(clock.now).startswith("slow: first byte 2 s against 0.05 s of its siblings")


async def test_answers_that_are_not_streamed_say_nothing_about_slowness() -> None:
    a, b = endpoint("a"), endpoint("b")
    clock = Clock()
    one = upstream(a, b, clock=clock)
    for _ in range(30):
        clock.now += 3.0
        one.began(a, 0.05, streamed=False)
        one.began(b, 2.0, streamed=False)
    assert one.state(b) is EndpointState.HEALTHY


async def test_endpoints_of_other_priorities_are_not_compared() -> None:
    a, b = endpoint("a"), endpoint("b", priority=1)
    clock = Clock()
    one = upstream(a, b, clock=clock)
    slow(one, clock, b, a)
    assert one.state(b) is EndpointState.HEALTHY


async def test_the_wait_for_another_answer_to_end_is_not_slowness() -> None:
    a, b = endpoint("a"), endpoint("b")
    clock = Clock()
    one = upstream(a, b, clock=clock)
    held = await pick(one, [a])
    assert held is b
    one.began(b, 0.05, streamed=True, load=1)
    for _ in range(30):
        assert await pick(one, [a]) is b
        load = b.in_flight
        clock.now += 3.0
        one.began(a, 0.05, streamed=True)
        one.release(b, begun=True)  # the one slot of the backend's is free
        clock.now += 0.1
        one.began(b, 3.1, streamed=True, load=load)
    assert one.state(b) is EndpointState.HEALTHY


# -- before a request is refused ---------------------------------------------------------------


async def test_an_ejected_endpoint_is_asked_where_nobody_else_is_left() -> None:
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b)
    fail(one, a)
    assert await reached(one) == {b}
    assert await pick(one, [b]) is a
    assert one.has_ejected([b], failed=True)
    assert not one.has_ejected([b], failed=False)
    assert not one.has_other([b])
    assert await pick(one, [a, b]) is None


async def test_slow_ones_are_asked_before_those_that_failed_and_those_that_fail_checks_last() -> (
    None
):
    clock = Clock()
    a, b, c, d = (endpoint(name) for name in "abcd")
    one = upstream(a, b, c, d, clock=clock, max_ejected=1.0, panic=0.0)
    slow(one, clock, b, a)
    fail(one, c)
    for _ in range(3):
        one.checked(d, "status 500")
    assert await reached(one) == {a}
    assert await pick(one, [a]) is b
    assert await pick(one, [a, b]) is c
    assert one.has_ejected([a], failed=False)
    assert not one.has_ejected([a, b, c], failed=True)
    assert await pick(one, [a, b, c]) is d


async def test_one_that_fails_takes_the_place_of_one_that_is_slow() -> None:
    clock = Clock()
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b, clock=clock)
    slow(one, clock, b, a)
    assert await reached(one) == {a}
    fail(one, a)
    assert (one.state(a), one.state(b)) == (EndpointState.EJECTED, EndpointState.HEALTHY)
    assert await reached(one) == {b}


async def test_a_slow_one_does_not_take_the_place_of_one_that_fails() -> None:
    clock = Clock()
    a, b, c = endpoint("a"), endpoint("b"), endpoint("c")
    one = upstream(a, b, c, clock=clock)
    fail(one, c)
    slow(one, clock, b, a)
    assert (one.state(b), one.state(c)) == (EndpointState.HEALTHY, EndpointState.PROBING)


async def test_panic_counts_those_that_would_be_out_if_not_too_many_were() -> None:
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b)
    fail(one, a)
    panicking = [one.panicking]
    fail(one, b)
    panicking.append(one.panicking)
    assert one.state(b) is EndpointState.HEALTHY  # one may be out
    assert one.why(b) == "failed 5 times in a row; stays since too many are out"
    assert await reached(one) == {a, b}
    b.in_flight += 1
    one.release(b, succeeded=True)
    panicking.append(one.panicking)
    assert panicking == [False, True, False]


async def test_in_a_panic_slow_ones_serve_before_those_that_failed() -> None:
    clock = Clock()
    endpoints = [endpoint(name) for name in "abcd"]
    a, b, c, d = endpoints
    one = upstream(*endpoints, clock=clock, max_ejected=1.0)
    slow(one, clock, b, a)
    for which in (c, d):
        fail(one, which)
    assert one.panicking
    assert await reached(one) == {a, b}
    fail(one, a)
    assert await reached(one) == set(endpoints)


async def test_where_all_that_are_well_are_full_for_too_long_an_ejected_one_is_asked() -> None:
    a, b = endpoint("a", max_requests=1), endpoint("b", max_requests=1)
    one = upstream(a, b, pending_s=0.02)
    fail(one, b)
    assert await pick(one) is a
    assert await pick(one) is b
    with pytest.raises(UpstreamBusy):
        await pick(one)
    assert (a.in_flight, b.in_flight, one.pending) == (1, 1, 0)


async def test_where_too_many_wait_an_ejected_one_is_asked() -> None:
    a, b = endpoint("a", max_requests=1), endpoint("b", max_requests=1)
    one = upstream(a, b, pending=0)
    fail(one, b)
    assert [await pick(one), await pick(one)] == [a, b]
    with pytest.raises(UpstreamBusy):
        await pick(one)


async def test_without_panic_endpoints_that_all_fail_their_checks_are_asked_still() -> None:
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b, panic=0.0)
    for each in (a, b):
        for _ in range(3):
            one.checked(each, "status 500")
    assert await reached(one) == {a, b}


async def test_a_drained_endpoint_is_not_asked_even_where_the_others_are_ejected() -> None:
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b)
    fail(one, a)
    one.drain(b, out=True)
    assert await pick(one, [a]) is None


async def test_changes_of_state_are_told_once() -> None:
    clock = Clock()
    told: list[tuple[str, EndpointState]] = []
    a, b = endpoint("a"), endpoint("b")
    one = Upstream(
        "main",
        UpstreamOptions(TIMEOUTS, frozenset()),
        LeastRequests(),
        [a, b],
        now=clock,
        report=lambda which, state, why: told.append((which.url, state)),
    )
    fail(one, a, 20)
    clock.now = 30.0
    for _ in range(10):
        await pick(one)
    assert told == [
        ("http://a.test", EndpointState.EJECTED),
        ("http://a.test", EndpointState.PROBING),
    ]


async def test_other_endpoints_take_over_and_those_that_stay_keep_what_is_known() -> None:
    a, b, c = endpoint("a"), endpoint("b"), endpoint("c")
    one = upstream(a, b)
    fail(one, b)
    one.update([b, c])
    assert one.state(b) is EndpointState.EJECTED
    assert await reached(one) == {c}


async def test_outliers_can_be_switched_off() -> None:
    a, b = endpoint("a"), endpoint("b")
    one = upstream(a, b, outliers=False, slowness=None)
    fail(one, a, 100)
    assert one.state(a) is EndpointState.HEALTHY


async def test_who_waits_when_another_takes_over_gets_an_endpoint_of_that_one() -> None:
    a = endpoint("a", max_requests=1)
    old = upstream(a)
    await pick(old)
    waiting = asyncio.create_task(pick(old))
    await asyncio.sleep(0)
    new = upstream(endpoint("a", max_requests=1), endpoint("b", max_requests=1))
    b = new.endpoints[1]
    new.inherit(old)
    assert await waiting is b
    assert new.endpoints == (a, b)
    assert (old.pending, new.pending) == (0, 0)


async def test_who_is_under_way_when_another_takes_over_is_sent_again_to_its_endpoints() -> None:
    old = upstream(endpoint("a"))
    a = await pick(old)
    assert a is not None
    new = upstream(endpoint("b"))
    b = new.endpoints[0]
    new.inherit(old)
    assert old.has_other([a])
    assert await pick(old, [a]) is b
    assert old.acquire_now(Hint(), [a]) is b
    assert (b.in_flight, new.endpoints) == (2, (b,))


async def test_who_gives_up_waiting_after_another_took_over_leaves_nothing_behind() -> None:
    a = endpoint("a", max_requests=1)
    old = upstream(a)
    await pick(old)
    waiting = asyncio.create_task(pick(old))
    await asyncio.sleep(0)
    new = upstream(endpoint("a", max_requests=1))
    new.inherit(old)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (old.pending, new.pending) == (0, 0)
    old.release(a)
    assert a.in_flight == 0


def test_a_good_answer_teaches_nothing_only_where_one_healthy_endpoint_is_alone() -> None:
    alone = upstream(endpoint("a"))
    several = upstream(endpoint("a"), endpoint("b"))
    hedging = upstream(endpoint("a"), retries=RetryOptions(hedge=True))
    assert [alone.is_plain, several.is_plain, hedging.is_plain] == [True, False, False]
    fail(alone, alone.endpoints[0])
    assert not alone.is_plain


def test_a_replaced_upstream_passes_on_what_its_answers_teach() -> None:
    old, new = upstream(endpoint("a")), upstream(endpoint("a"))
    new.inherit(old)
    assert (old.is_plain, new.is_plain) == (False, True)


def test_a_complete_answer_ends_a_row_of_failures() -> None:
    one = upstream(endpoint("a"))
    (a,) = one.endpoints
    fail(one, a, times=4)
    a.in_flight += 1
    one.release(a, succeeded=True)
    fail(one, a, times=4)
    assert one.state(a) is EndpointState.HEALTHY
