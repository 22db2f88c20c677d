"""Calls that gather the demands of a turn, and what is owed after one that failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from gateway.limiting.batch import Batch, Batcher
from gateway.limiting.demand import Demand, Kind, LimitVerdict
from gateway.store.records import StoreUnavailable, StoreUntouched

LEASE = Demand(Kind.LEASE, "c", size=1.0, ttl_s=60.0, holder="one")
RELEASE = Demand(Kind.RELEASE, "c", holder="two")
TAKE = Demand(Kind.TAKE, "k", 1.0, 5.0, 1.0)
ADJUST = Demand(Kind.ADJUST, "k", 2.0, 5.0, 1.0)


class Wire:
    """Keeps what is sent, and fails as long as it is told."""

    def __init__(self) -> None:
        self.failing = False
        self.failure: Exception = StoreUnavailable("timed out")
        self.calls: list[list[list[Demand]]] = []

    async def send(self, batch: Batch) -> Sequence[LimitVerdict]:
        self.calls.append([list(demands) for demands in batch])
        if self.failing:
            raise self.failure
        return [LimitVerdict(()) for _ in batch]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def batcher(wire: Wire) -> Batcher:
    return Batcher(wire.send)


async def test_one_turn_of_the_loop_makes_one_call(wire: Wire, batcher: Batcher) -> None:
    await asyncio.gather(batcher.decide([TAKE]), batcher.decide([LEASE, TAKE]))
    assert wire.calls == [[[TAKE], [LEASE, TAKE]]]


async def test_slots_of_a_failed_call_are_given_back_with_the_next_that_succeeds(
    wire: Wire, batcher: Batcher
) -> None:
    wire.failing = True
    batcher.post([RELEASE])
    with pytest.raises(StoreUnavailable):
        await batcher.decide([TAKE, LEASE])
    batcher.post([Demand(Kind.RELEASE, "c", holder="three")])
    with pytest.raises(StoreUnavailable):
        await batcher.decide([TAKE])
    wire.failing = False
    await batcher.decide([TAKE])
    await batcher.close()
    given_back = [demands[0] for demands in wire.calls[-1]]
    assert [demand.kind for demand in given_back] == [Kind.RELEASE] * 3
    assert [demand.holder for demand in given_back] == ["two", "one", "three"]
    assert len(wire.calls) == 4


async def test_nothing_is_posted_while_calls_fail(wire: Wire, batcher: Batcher) -> None:
    wire.failing = True
    with pytest.raises(StoreUnavailable):
        await batcher.decide([TAKE])
    batcher.post([ADJUST])
    batcher.post([RELEASE])
    await batcher.close()
    assert wire.calls == [[[TAKE]]]


async def test_corrections_of_an_outage_are_summed_up_and_sent_once_it_is_over(
    wire: Wire, batcher: Batcher
) -> None:
    wire.failing = True
    batcher.post([ADJUST])  # this call may have been executed
    with pytest.raises(StoreUnavailable):
        await batcher.decide([TAKE])
    for amount in (2.0, -5.0):
        batcher.post([ADJUST.again(Kind.ADJUST, amount)])
    batcher.post([TAKE.again(Kind.CORRECT, -1.0)])
    wire.failing = False
    await batcher.decide([TAKE])
    await batcher.close()
    assert wire.calls[-1] == [
        [ADJUST.again(Kind.ADJUST, -3.0)],
        [TAKE.again(Kind.CORRECT, -1.0)],
    ]


async def test_corrections_of_a_call_that_surely_changed_nothing_are_sent_again(
    wire: Wire, batcher: Batcher
) -> None:
    wire.failing, wire.failure = True, StoreUntouched("refused")
    batcher.post([ADJUST])
    with pytest.raises(StoreUnavailable):
        await batcher.decide([TAKE])
    wire.failing = False
    await batcher.decide([TAKE])
    await batcher.close()
    assert wire.calls[-1] == [[ADJUST]]


async def test_an_unforeseen_failure_of_a_call_is_raised_to_those_who_wait(
    wire: Wire, batcher: Batcher
) -> None:
    wire.failing, wire.failure = True, ValueError("broken")
    with pytest.raises(ValueError, match="broken"):
        await batcher.decide([TAKE])


async def test_what_is_granted_to_nobody_is_given_back(wire: Wire, batcher: Batcher) -> None:
    spend = Demand(Kind.SPEND, "b", 7.0, 50.0, ttl_s=60.0)
    left = asyncio.ensure_future(batcher.decide([TAKE, LEASE, spend]))
    await asyncio.sleep(0)
    left.cancel()
    await batcher.close()
    assert wire.calls == [
        [[TAKE, LEASE, spend]],
        [
            [
                TAKE.again(Kind.ADJUST, -1.0),
                LEASE.again(Kind.RELEASE, -1.0),
                spend.again(Kind.CORRECT, -7.0),
            ]
        ],
    ]


async def test_a_decision_is_given_up_and_its_call_goes_on(wire: Wire) -> None:
    answers = asyncio.Event()

    async def send(batch: Batch) -> Sequence[LimitVerdict]:
        verdicts = await wire.send(batch)
        await answers.wait()
        return verdicts

    batcher = Batcher(send, patience_s=0.01)
    batcher.post([ADJUST])
    with pytest.raises(StoreUnavailable):
        await batcher.decide([TAKE])
    batcher.post([ADJUST])
    assert wire.calls == [[[ADJUST], [TAKE]]], "nothing is sent while calls are late"
    answers.set()
    await batcher.close()
    assert wire.calls[1:] == [[[ADJUST], [TAKE.again(Kind.ADJUST, -1.0)]]]


async def test_a_reply_at_the_last_moment_counts(wire: Wire) -> None:
    patience_s = 0.02

    async def send(batch: Batch) -> Sequence[LimitVerdict]:
        verdicts = await wire.send(batch)
        if len(wire.calls) == 1:
            busy_until = time.perf_counter() + 2 * patience_s
            while time.perf_counter() < busy_until:  # the first look is over
                pass
            await asyncio.sleep(0)
        return verdicts

    batcher = Batcher(send, patience_s=patience_s)
    batcher.post([ADJUST])
    assert (await batcher.decide([TAKE])).admitted
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(patience_s, over.set)
    await over.wait()  # and so is the last
    batcher.post([ADJUST])
    await batcher.close()
    assert wire.calls == [[[ADJUST], [TAKE]], [[ADJUST]]], "nothing is kept back"


class Local(Wire):
    """Decides at once, unless it is locked."""

    def __init__(self) -> None:
        super().__init__()
        self.locked = False

    def send_now(self, batch: Batch) -> Sequence[LimitVerdict] | None:
        if self.locked:
            return None
        self.calls.append([list(demands) for demands in batch])
        return [LimitVerdict(()) for _ in batch]


async def test_a_decision_at_once_takes_along_what_waits() -> None:
    wire = Local()
    batcher = Batcher(wire.send, wire.send_now)
    waiting = asyncio.ensure_future(batcher.decide([LEASE]))
    await asyncio.sleep(0)
    batcher.post([RELEASE])
    assert batcher.decide_now([TAKE]) == LimitVerdict(())
    assert wire.calls == [[[LEASE], [RELEASE], [TAKE]]]
    await waiting
    await batcher.close()
    assert len(wire.calls) == 1, "nothing is sent twice"


async def test_an_unforeseen_failure_at_once_is_raised_to_those_who_wait() -> None:
    def send_now(_: Batch) -> Sequence[LimitVerdict]:
        raise ZeroDivisionError

    batcher = Batcher(Wire().send, send_now)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(batcher.decide([TAKE]), 30)


async def test_a_decision_that_cannot_be_made_at_once_leaves_what_waits() -> None:
    wire = Local()
    wire.locked = True
    batcher = Batcher(wire.send, wire.send_now)
    batcher.post([RELEASE])
    assert batcher.decide_now([TAKE]) is None
    await batcher.decide([TAKE])
    assert wire.calls == [[[RELEASE], [TAKE]]]


async def test_no_decision_overtakes_a_release_whose_call_waits() -> None:
    unlocked, sent = asyncio.Event(), list[Demand]()

    async def send(batch: Batch) -> Sequence[LimitVerdict]:
        await unlocked.wait()
        sent.extend(demand for demands in batch for demand in demands)
        return [LimitVerdict(()) for _ in batch]

    def send_now(batch: Batch) -> Sequence[LimitVerdict] | None:
        if locked:
            return None
        sent.extend(demand for demands in batch for demand in demands)
        return [LimitVerdict(()) for _ in batch]

    locked, batcher = True, Batcher(send, send_now)
    batcher.post([RELEASE])
    await asyncio.sleep(0)  # its call begins, and has to wait
    locked = False
    assert batcher.decide_now([LEASE]) is None
    deciding = asyncio.ensure_future(batcher.decide([LEASE]))
    await asyncio.sleep(0)
    unlocked.set()
    await deciding
    assert sent == [RELEASE, LEASE]


async def test_what_is_owed_after_a_failure_is_released_after_a_decision_at_once() -> None:
    wire = Local()
    wire.failing = wire.locked = True
    batcher = Batcher(wire.send, wire.send_now)
    with pytest.raises(StoreUnavailable):
        await batcher.decide([LEASE])
    wire.failing = wire.locked = False
    wire.calls.clear()
    assert batcher.decide_now([TAKE]) is not None
    await batcher.close()
    assert wire.calls == [[[TAKE]], [[LEASE.again(Kind.RELEASE)]]]


def test_a_store_that_has_to_be_waited_for_decides_nothing_at_once(
    wire: Wire, batcher: Batcher
) -> None:
    assert batcher.decide_now([TAKE]) is None
    assert wire.calls == []
