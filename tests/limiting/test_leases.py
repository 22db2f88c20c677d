"""Leases: slots are renewed while their requests run, and given back once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.limiting.demand import Demand, Kind
from gateway.limiting.guard import GuardedStore
from gateway.limiting.leases import Leases
from gateway.stores.memory.limits import MemoryLimits
from tests.support.waiting import PATIENCE_S

SLOT = Demand(Kind.LEASE, "k", 1.0, 1.0, ttl_s=60.0, holder="h")


class Posted(MemoryLimits):
    """Store that keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: asyncio.Queue[Kind] = asyncio.Queue()

    def post(self, demands: Sequence[Demand]) -> None:
        for demand in demands:
            self.kinds.put_nowait(demand.kind)
        super().post(demands)


@pytest.fixture
def store() -> Posted:
    return Posted()


@pytest.fixture
async def leases(store: Posted) -> AsyncIterator[Leases]:
    leases = Leases(GuardedStore(store, local=MemoryLimits()), ttl_s=0.01)
    yield leases
    leases.close()


async def test_a_slot_is_renewed_until_it_is_released(leases: Leases, store: Posted) -> None:
    leases.keep(SLOT)
    assert len(leases) == 1
    async with asyncio.timeout(PATIENCE_S):
        assert [await store.kinds.get() for _ in range(3)] == [Kind.RENEW] * 3
    leases.release(SLOT)
    assert len(leases) == 0
    while (kind := store.kinds.get_nowait()) is Kind.RENEW:
        pass
    assert kind is Kind.RELEASE


async def test_a_slot_is_released_once(leases: Leases, store: Posted) -> None:
    leases.keep(SLOT)
    for _ in range(3):
        leases.release(SLOT)
    assert store.kinds.qsize() == 1


async def test_a_slot_that_is_given_up_is_free_once_its_release_is_posted() -> None:
    memory = MemoryLimits()
    store = GuardedStore(memory, local=memory)
    leases = Leases(store, ttl_s=60.0)
    memory.decide_now([SLOT])
    leases.keep(SLOT)
    release = leases.give_up(SLOT)
    assert release is not None
    assert leases.give_up(SLOT) is None
    other = Demand(Kind.LEASE, "k", 1.0, 1.0, ttl_s=60.0, holder="other")
    assert not memory.decide_now([other]).admitted
    store.post([release])
    assert memory.decide_now([other]).admitted
    leases.close()
