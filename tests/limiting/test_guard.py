"""The breaker before a store, and what is decided without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.errors import LimitsUnavailable
from gateway.limiting.advances import Advances
from gateway.limiting.demand import Counted, Demand, Kind, LimitVerdict
from gateway.limiting.guard import Breaker, GuardedStore, OnStoreError
from gateway.store.records import StoreUnavailable
from gateway.stores.memory.limits import MemoryLimits

OPEN, CLOSED, LOCAL = OnStoreError.OPEN, OnStoreError.CLOSED, OnStoreError.LOCAL


class Flaky:
    """Store that has to be waited for, fails as long as it is told, and counts who asks."""

    def __init__(self) -> None:
        self.memory = MemoryLimits()
        self.failing = False
        self.asked = 0

    def decide_now(self, demands: Sequence[Demand]) -> LimitVerdict | None:
        return None

    async def decide(self, demands: Sequence[Demand]) -> LimitVerdict:
        self.asked += 1
        if self.failing:
            raise StoreUnavailable("timed out")
        return self.memory.decide_now(demands)

    def post(self, demands: Sequence[Demand]) -> None:
        self.memory.post(demands)

    async def close(self) -> None: ...


class Setting:
    """A guarded store with a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store = Flaky()
        self.local = MemoryLimits()
        self.reports: list[tuple[str, str]] = []
        self.guarded = GuardedStore(
            self.store,
            local=self.local,
            now=lambda: self.now,
            report=lambda state, why: self.reports.append((state, why)),
        )

    async def take(
        self, mode: OnStoreError = LOCAL, key: str = "k", size: float = 2.0
    ) -> LimitVerdict:
        demand = Demand(Kind.TAKE, key, 1.0, size, 0.001)
        return await self.guarded.decide([demand], [mode])


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_without_the_store_each_limit_does_as_it_says(setting: Setting) -> None:
    setting.store.failing = True
    assert [(await setting.take(LOCAL)).admitted for _ in range(3)] == [True, True, False]
    assert all([(await setting.take(OPEN)).admitted for _ in range(5)])
    with pytest.raises(LimitsUnavailable):
        await setting.take(CLOSED)


async def test_of_mixed_modes_the_local_ones_are_counted(setting: Setting) -> None:
    setting.store.failing = True
    demands = [Demand(Kind.TAKE, name, 1.0, 1.0, 0.001) for name in ("open", "local")]
    said = [await setting.guarded.decide(demands, [OPEN, LOCAL]) for _ in range(2)]
    assert [verdict.refused for verdict in said] == [None, 1]


async def test_a_dead_store_costs_nothing_until_it_is_probed(setting: Setting) -> None:
    setting.store.failing = True
    for _ in range(100):
        await setting.take(OPEN)
    assert setting.store.asked == 1
    assert setting.guarded.state is Breaker.OPEN
    assert setting.reports == [("open", "timed out")]
    setting.now += 0.25
    for _ in range(100):
        await setting.take(OPEN)
    assert setting.store.asked == 2


async def test_probes_come_less_often_the_longer_it_is_dead(setting: Setting) -> None:
    setting.store.failing = True
    await setting.take(OPEN)
    for _ in range(1000):
        setting.now += 0.1
        await setting.take(OPEN)
    assert 45 <= setting.store.asked <= 60


async def test_it_recovers_by_itself(setting: Setting) -> None:
    setting.store.failing = True
    await setting.take(OPEN)
    setting.store.failing = False
    setting.now += 0.25
    assert (await setting.take(LOCAL)).admitted
    assert setting.guarded.state is Breaker.CLOSED
    assert setting.reports[-1] == ("closed", "")
    asked = setting.store.asked
    await setting.take(LOCAL)
    assert setting.store.asked == asked + 1


async def test_a_slot_counted_here_is_given_back_here(setting: Setting) -> None:
    setting.store.failing = True
    lease = Demand(Kind.LEASE, "c", 1.0, 1.0, ttl_s=60.0, holder="h")
    demands = [lease]
    assert (await setting.guarded.decide(demands, [LOCAL])).admitted
    setting.guarded.post([replace(demands[0], kind=Kind.RELEASE)])
    assert (await setting.guarded.decide([lease], [LOCAL])).admitted


def budget(amount: float = 60.0) -> Demand:
    return Demand(Kind.SPEND, "b", amount, 100.0, ttl_s=1000.0)


def spent(setting: Setting) -> tuple[float, float]:
    """By the store, and by this process without it."""
    return setting.store.memory.spent("b"), setting.local.spent("b")


async def test_what_the_store_took_is_no_credit_without_it(setting: Setting) -> None:
    first = budget()
    assert (await setting.guarded.decide([first], [LOCAL])).admitted
    setting.store.failing = True
    assert (await setting.guarded.decide([budget(30.0)], [LOCAL])).admitted
    setting.guarded.post([replace(first, kind=Kind.CORRECT, amount=-50.0)])
    assert spent(setting) == (10.0, 90.0)
    # 10 are left, and not 60.
    assert not (await setting.guarded.decide([budget()], [LOCAL])).admitted


async def test_an_outage_begins_with_what_the_store_has_left(setting: Setting) -> None:
    await setting.take(size=3.0)
    setting.store.failing = True
    assert [(await setting.take(size=3.0)).admitted for _ in range(3)] == [True, True, False]


async def test_an_outage_begins_with_what_other_processes_have_used(setting: Setting) -> None:
    demand = Demand(Kind.TAKE, "k", 2.0, 2.0, 0.001)
    setting.store.memory.post([demand])
    assert not (await setting.take()).admitted
    setting.store.failing = True
    assert not (await setting.take()).admitted


async def test_a_store_that_fails_again_and_again_adds_one_burst_at_most(setting: Setting) -> None:
    admitted = 0
    for _ in range(10):
        setting.store.failing = True
        for _ in range(5):
            admitted += (await setting.take(size=4.0)).admitted
        setting.store.failing = False
        setting.now += 5.0
        admitted += (await setting.take(size=4.0)).admitted
    assert admitted == 4 + 4


async def test_a_refused_request_leaves_nothing_for_an_outage(setting: Setting) -> None:
    wide, narrow = (Demand(Kind.TAKE, key, 1.0, size, 0.001) for key, size in (("w", 2), ("n", 1)))
    said = [await setting.guarded.decide([wide, narrow], [LOCAL, LOCAL]) for _ in range(5)]
    assert [verdict.refused for verdict in said] == [None, 1, 1, 1, 1]
    setting.store.failing = True
    assert [(await setting.guarded.decide([wide], [LOCAL])).refused for _ in range(2)] == [None, 0]


async def test_an_outage_counts_the_slots_of_running_requests(setting: Setting) -> None:
    lease = Demand(Kind.LEASE, "c", 1.0, 1.0, ttl_s=60.0, holder="first")
    other = replace(lease, holder="second")
    await setting.guarded.decide([lease], [LOCAL])
    setting.guarded.post([lease.again(Kind.RENEW)])
    setting.store.failing = True
    assert not (await setting.guarded.decide([other], [LOCAL])).admitted
    setting.guarded.post([lease.again(Kind.RELEASE)])
    assert (await setting.guarded.decide([other], [LOCAL])).admitted


async def test_an_outage_counts_a_slot_that_was_kept_for_the_next_request(setting: Setting) -> None:
    advances = Advances(setting.store.memory)
    guarded = GuardedStore(advances, local=setting.local)
    first, second = (
        Demand(Kind.LEASE, "c", 1.0, 200.0, ttl_s=60.0, holder=each) for each in ("first", "second")
    )
    guarded.decide_now([first], [LOCAL])
    guarded.post([first.again(Kind.RELEASE)])
    guarded.decide_now([second], [LOCAL])
    assert second.holder == "first"
    level = setting.local.decide_now([Demand(Kind.LEASE, "c", 0.0, 200.0)]).levels[0]
    assert level.remaining == 199
    await guarded.close()


async def test_an_outage_begins_with_tokens_that_were_taken_in_advance(setting: Setting) -> None:
    guarded = GuardedStore(Advances(setting.store.memory), local=setting.local)
    demand = Demand(Kind.TAKE, "k", 1.0, 640.0, 0.001)
    for _ in range(100):
        guarded.decide_now([demand], [LOCAL])
    level = setting.local.decide_now([demand.again(Kind.TAKE, 0.0)]).levels[0]
    assert level.remaining == pytest.approx(540, abs=10)
    await guarded.close()


async def test_what_was_taken_without_the_store_is_no_credit_in_it(setting: Setting) -> None:
    setting.store.failing = True
    demands = [budget()]
    await setting.guarded.decide(demands, [LOCAL])
    setting.store.failing = False
    setting.guarded.post([replace(demands[0], kind=Kind.CORRECT, amount=-50.0)])
    assert spent(setting) == (0.0, 10.0)


async def test_what_nobody_took_is_not_corrected(setting: Setting) -> None:
    setting.store.failing = True
    demands = [budget()]
    await setting.guarded.decide(demands, [OPEN])
    setting.guarded.post([replace(demands[0], kind=Kind.CORRECT, amount=-50.0)])
    assert spent(setting) == (0.0, 0.0)


async def test_what_a_session_spends_is_counted_by_one_of_both(setting: Setting) -> None:
    used = replace(budget(), kind=Kind.CORRECT, amount=5.0)
    setting.guarded.spend([replace(used)], [LOCAL])
    assert spent(setting) == (5.0, 0.0)
    setting.store.failing = True
    await setting.take(OPEN)
    setting.guarded.spend([replace(used)], [LOCAL])
    setting.guarded.spend([replace(used)], [OPEN])
    assert spent(setting) == (5.0, 5.0)


def test_a_store_in_memory_decides_at_once() -> None:
    memory = MemoryLimits()
    guarded = GuardedStore(memory, local=memory)
    lease = Demand(Kind.LEASE, "c", 1.0, 1.0, ttl_s=60.0, holder="first")
    other = replace(lease, holder="second")
    said = [guarded.decide_now([demand], [LOCAL]) for demand in (lease, other)]
    assert [verdict is not None and verdict.admitted for verdict in said] == [True, False]
    guarded.post([replace(lease, kind=Kind.RELEASE)])
    again = guarded.decide_now([other], [LOCAL])
    assert again is not None
    assert again.admitted


async def test_a_store_in_memory_decides_alike_at_once_and_awaited() -> None:
    memory = MemoryLimits()
    guarded = GuardedStore(memory, local=memory)
    demand = Demand(Kind.TAKE, "k", 1.0, 2.0, 0.001)
    assert (await guarded.decide([demand], [LOCAL])).levels[0].remaining == 1
    at_once = guarded.decide_now([demand], [LOCAL])
    assert at_once is not None
    assert at_once.levels[0].remaining == 0
    assert not (await guarded.decide([demand], [LOCAL])).admitted


def test_a_store_that_has_to_be_asked_decides_nothing_at_once(setting: Setting) -> None:
    demand = Demand(Kind.TAKE, "k", 1.0, 2.0, 0.001)
    assert setting.guarded.decide_now([demand], [LOCAL]) is None
    assert (len(setting.store.memory), len(setting.local), setting.guarded.without) == (0, 0, 0)


async def test_while_the_store_is_away_each_limit_is_decided_at_once_until_a_probe_is_due(
    setting: Setting,
) -> None:
    setting.store.failing = True
    await setting.take(OPEN)
    demand = Demand(Kind.TAKE, "k", 1.0, 1.0, 0.001)
    said = [setting.guarded.decide_now([demand], [LOCAL]) for _ in range(2)]
    assert [verdict is not None and verdict.admitted for verdict in said] == [True, False]
    with pytest.raises(LimitsUnavailable):
        setting.guarded.decide_now([demand], [CLOSED])
    assert setting.guarded.without == 4
    setting.now += 0.25
    assert setting.guarded.decide_now([demand], [LOCAL]) is None
    assert setting.guarded.state is Breaker.OPEN, "only the awaited decision is a probe"
    await setting.take(OPEN)
    assert setting.store.asked == 2


async def test_demands_that_requests_share_are_not_changed(setting: Setting) -> None:
    setting.store.failing = True
    shared = budget()
    demands = [shared]
    await setting.guarded.decide(demands, [LOCAL])
    assert (shared.counted, demands[0].counted) == (Counted.STORE, Counted.LOCAL)
