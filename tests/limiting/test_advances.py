"""Advances: few calls of a shared store, and the bounds of what processes take and keep."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limiting.advances import Advances
from gateway.limiting.demand import Demand, Kind, LimitVerdict
from gateway.stores.memory.limits import MemoryLimits
from tests.support.waiting import asked_until

SHARE = 64
SIZE, PER_S = 6400.0, 100.0
_numbers = itertools.count()


class Clock:
    """Clock that only a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class CountedStore(MemoryLimits):
    """Store that counts its decisions."""

    decisions = 0

    def decide_now(self, demands: Sequence[Demand]) -> LimitVerdict:
        self.decisions += 1
        return super().decide_now(demands)


@dataclass
class Shared:
    """Store that two processes share."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.store = CountedStore(self.clock)
        self.first, self.second = (Advances(self.store, self.clock) for _ in range(2))

    def remaining(self, key: str = "k") -> int:
        return self.store.decide_now([take(0.0, key)]).levels[0].remaining

    def used_slots(self) -> int:
        """Return how many slots the store counts as held."""
        return 1000 - self.store.decide_now([lease(0.0)]).levels[0].remaining


@pytest.fixture
async def shared() -> AsyncIterator[Shared]:
    made = Shared()
    yield made
    await made.first.close()
    await made.second.close()


def take(amount: float = 1.0, key: str = "k", size: float = SIZE, per_s: float = PER_S) -> Demand:
    return Demand(Kind.TAKE, key, amount, size, per_s)


def lease(amount: float = 1.0, size: float = 1000.0) -> Demand:
    return Demand(Kind.LEASE, "slots", amount, size, ttl_s=60.0, holder=f"h{next(_numbers)}")


def leased(advances: Advances) -> Demand:
    """Take a slot, which is granted."""
    demand = lease()
    assert admitted(advances, demand)
    return demand


def release(advances: Advances, *demands: Demand) -> None:
    advances.post([demand.again(Kind.RELEASE) for demand in demands])


def admitted(advances: Advances, *demands: Demand) -> bool:
    verdict = advances.decide_now(demands)
    assert verdict is not None
    return verdict.admitted


async def test_a_busy_caller_needs_few_calls_of_the_store(shared: Shared) -> None:
    for _ in range(1000):
        assert admitted(shared.first, take())
    assert shared.store.decisions < 50


async def test_the_levels_are_those_of_a_store_that_counts_each_request(shared: Shared) -> None:
    exact = MemoryLimits(shared.clock)
    for _ in range(200):
        shared.clock.now += 0.001
        verdict = shared.first.decide_now([take(3.0)])
        expected = exact.decide_now([take(3.0)])
        assert verdict is not None
        assert verdict.levels[0].remaining == pytest.approx(expected.levels[0].remaining, abs=1)
        assert verdict.levels[0].wait_s == pytest.approx(expected.levels[0].wait_s)


async def test_a_small_bucket_is_counted_request_by_request(shared: Shared) -> None:
    demand = take(size=63.0, per_s=0.001)
    turns = [shared.first, shared.second]
    assert sum(admitted(turns[n % 2], demand) for n in range(100)) == 63
    assert shared.store.decisions == 100


async def test_less_than_a_request_is_not_taken_in_advance(shared: Shared) -> None:
    demand = take(size=64.0, per_s=0.001)
    assert all(admitted(shared.first, demand) for _ in range(10))
    assert all(admitted(shared.second, demand) for _ in range(54))


async def test_a_single_request_takes_nothing_in_advance(shared: Shared) -> None:
    admitted(shared.first, take())
    assert shared.remaining() == SIZE - 1


async def test_the_rest_of_an_advance_is_returned(shared: Shared) -> None:
    for _ in range(2):
        admitted(shared.first, take())
    assert shared.remaining() < SIZE - 2

    async def is_returned() -> bool:
        return shared.remaining() == SIZE - 2

    await asked_until(is_returned, bool)


async def test_closing_returns_the_rest_of_an_advance(shared: Shared) -> None:
    for _ in range(2):
        admitted(shared.first, take())
    await shared.first.close()
    assert shared.remaining() == SIZE - 2


async def test_a_refused_request_takes_nothing_of_any_bucket(shared: Shared) -> None:
    for _ in range(10):
        admitted(shared.first, take(), take(key="other"))
    assert not admitted(shared.first, take(), take(SIZE, key="other"))
    await shared.first.close()
    assert (shared.remaining(), shared.remaining("other")) == (SIZE - 10, SIZE - 10)


async def test_an_own_advance_refuses_nobody(shared: Shared) -> None:
    for _ in range(10):
        admitted(shared.first, take())
    assert admitted(shared.first, take(SIZE - 10))
    assert not admitted(shared.first, take())


async def test_a_correction_of_a_reservation_stays_within_the_advance(shared: Shared) -> None:
    for _ in range(10):
        admitted(shared.first, take(10.0))
    decisions = shared.store.decisions
    for _ in range(50):
        admitted(shared.first, take(10.0))
        shared.first.post([take().again(Kind.ADJUST, -9.0)])
    assert shared.store.decisions < decisions + 10
    shared.first.post([take().again(Kind.ADJUST, -120.0)])
    shared.first.post([take().again(Kind.ADJUST, 160.0)])
    await shared.first.close()
    assert shared.remaining() == SIZE - 100 - 50 - 40


async def test_a_request_that_needs_a_slot_is_decided_by_the_store(shared: Shared) -> None:
    for n in range(20):
        slot = Demand(Kind.LEASE, "slots", 1.0, 10.0, ttl_s=60.0, holder=str(n))
        assert admitted(shared.first, take(), slot) == (n < 10)
    assert shared.remaining() == SIZE - 10


async def test_slots_of_a_busy_caller_need_few_calls_of_the_store(shared: Shared) -> None:
    for _ in range(1000):
        release(shared.first, leased(shared.first))
    assert shared.store.decisions == 1


async def test_a_busy_caller_with_a_slot_and_tokens_needs_few_calls(shared: Shared) -> None:
    for _ in range(1000):
        demand = lease()
        assert admitted(shared.first, take(), demand)
        release(shared.first, demand)
    assert shared.store.decisions < 50


async def test_the_levels_of_slots_are_those_of_an_exact_store(shared: Shared) -> None:
    left = []
    held = []
    for n in range(20):
        held.append(lease())
        verdict = shared.first.decide_now([held[-1]])
        assert verdict is not None
        left.append(verdict.levels[0].remaining)
        if n == 9:
            release(shared.first, *held)
    assert left == [*range(999, 989, -1), *range(999, 989, -1)]
    assert shared.store.decisions == 10


async def test_at_most_a_share_of_the_slots_that_are_left_is_kept(shared: Shared) -> None:
    held = [leased(shared.first) for _ in range(200)]
    release(shared.first, *held)
    assert shared.used_slots() == 1000 // SHARE


async def test_a_slot_is_released_at_once_where_few_are_left(shared: Shared) -> None:
    for _ in range(940):
        leased(shared.second)
    release(shared.first, leased(shared.first))
    assert shared.used_slots() == 940


async def test_kept_slots_are_released_after_a_moment(shared: Shared) -> None:
    release(shared.first, leased(shared.first))
    assert shared.used_slots() == 1

    async def is_released() -> bool:
        return shared.used_slots() == 0

    await asked_until(is_released, bool)


async def test_closing_releases_kept_slots(shared: Shared) -> None:
    release(shared.first, leased(shared.first))
    await shared.first.close()
    assert shared.used_slots() == 0


async def test_kept_slots_of_a_killed_process_expire(shared: Shared) -> None:
    release(shared.first, leased(shared.first))
    shared.clock.now += 61.0
    assert shared.used_slots() == 0


async def test_an_older_slot_is_not_kept(shared: Shared) -> None:
    demand = leased(shared.first)
    await shared.first.close()  # as at the end of the period
    assert admitted(shared.first, lease())
    release(shared.first, demand)
    assert shared.used_slots() == 1


async def test_an_own_kept_slot_refuses_nobody(shared: Shared) -> None:
    kept = [leased(shared.first) for _ in range(10)]
    release(shared.first, *kept)
    assert shared.used_slots() == 10
    tokens = take(amount=0.0)  # never taken in advance, so the store decides
    assert all(admitted(shared.first, tokens, lease()) for _ in range(1000))
    assert not admitted(shared.first, tokens, lease())


async def test_an_advance_is_for_limits_of_the_same_size(shared: Shared) -> None:
    for _ in range(100):
        leased(shared.first)
    release(shared.first, leased(shared.first))
    assert not admitted(shared.first, lease(size=100.0))
    for _ in range(10):
        admitted(shared.first, take())
    assert not admitted(shared.first, take(size=1.0, per_s=0.01))


async def test_refused_requests_ask_the_store_once_each(shared: Shared) -> None:
    for _ in range(10):
        admitted(shared.first, take())
    assert admitted(shared.second, take(shared.remaining()))
    for _ in range(10):
        admitted(shared.first, take())  # what is left of its advance
    assert not admitted(shared.first, take(100.0))
    decisions = shared.store.decisions
    for _ in range(50):
        assert not admitted(shared.first, take(100.0))
    assert shared.store.decisions == decisions + 50


async def test_an_advance_that_is_awaited_is_used(shared: Shared) -> None:
    for _ in range(3):
        assert (await shared.first.decide([take()])).admitted
    assert shared.remaining() < SIZE - 3
    assert not (await shared.first.decide([take(SIZE)])).admitted
    assert (await shared.first.decide([take(SIZE - 3)])).admitted


Steps = list[tuple[int, float, float, bool]]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([0.0, 0.0, 0.001, 0.05, 1.0]),
            st.sampled_from([1.0, 1.0, 1.0, 7.0, 60.0, 300.0]),
            st.booleans(),
        ),
        max_size=200,
    ),
    st.sampled_from([0.1, 10.0, 10_000.0]),
)
def test_limits_hold_but_for_a_share_of_the_bucket(steps: Steps, per_s: float) -> None:
    size = 640.0

    async def run() -> None:
        shared = Shared()
        # Buckets that count each request: one of the limit's size, and one with a share for each
        # process.
        exact = MemoryLimits(shared.clock)
        wide = MemoryLimits(shared.clock)
        for which, pause_s, amount, ends in steps:
            shared.clock.now += pause_s
            advances = shared.second if which else shared.first
            if admitted(advances, take(amount, size=size, per_s=per_s)):
                exact.post([take(amount, size=size, per_s=per_s)])
                assert admitted_by(wide, amount, size + 2 * size / SHARE, per_s)
            else:
                left = exact.decide_now([take(0.0, size=size, per_s=per_s)]).levels[0].remaining
                assert left < amount + size / SHARE
            if ends:
                await advances.close()
        await shared.first.close()
        await shared.second.close()

    asyncio.run(run())


def admitted_by(store: MemoryLimits, amount: float, size: float, per_s: float) -> bool:
    return store.decide_now([take(amount, size=size, per_s=per_s)]).admitted


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.sampled_from([0, 1, 3, 40]), st.sampled_from([0, 1, 3, 40])
        ),
        max_size=100,
    ),
    st.sets(st.integers(0, 99)),
)
def test_slots_never_exceed_their_limit(steps: list[tuple[int, int, int]], ends: set[int]) -> None:
    size = 130.0

    async def run() -> None:
        shared = Shared()
        held: list[list[Demand]] = [[], []]
        for number, (which, begun, ended) in enumerate(steps):
            advances = shared.second if which else shared.first
            for _ in range(begun):
                used = len(held[0]) + len(held[1])
                if admitted(advances, demand := lease(size=size)):
                    held[which].append(demand)
                    assert used < size
                else:  # of the others' slots, a share may be kept
                    assert used + size / SHARE >= size
            for demand in held[which][:ended]:
                release(advances, demand)
            del held[which][:ended]
            holders = [demand.holder for demand in held[0] + held[1]]
            assert len(set(holders)) == len(holders)
            if number in ends:
                await advances.close()
        await shared.first.close()
        await shared.second.close()
        level = shared.store.decide_now([lease(0.0, size)]).levels[0]
        assert level.remaining == size - len(held[0]) - len(held[1])

    asyncio.run(run())
