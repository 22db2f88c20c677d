"""Single flight among processes, with a registry in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from gateway.response_cache.shared_flight import SharedFlight
from gateway.response_cache.store import LeadState
from gateway.response_cache.stored_answer import StoredAnswer
from gateway.store.records import StoreUnavailable
from tests.support.waiting import eventually


class Leads:
    """Registry of leads, and a place for one answer."""

    renewal_s = 0.01

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.answer: StoredAnswer | None = None
        self.renewed = 0
        self.is_away = False
        self.asked = ""

    async def take(self, key: str, owner: str) -> LeadState:
        self.asked = owner
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("away")
        held = self.owners.setdefault(key, owner)
        if held == "failed":
            return LeadState.FAILED
        return LeadState.LEADS if held == owner else LeadState.FOLLOWS

    async def renew(self, owners: Mapping[str, str]) -> None:
        self.renewed += 1

    async def give_up(self, key: str, owner: str, *, failed: bool) -> None:
        if self.owners.get(key) == owner:
            del self.owners[key]
            if failed:
                self.owners[key] = "failed"

    async def find(self) -> StoredAnswer | None:
        return self.answer


def flight(leads: Leads) -> SharedFlight:
    return SharedFlight(leads, lambda exc: None)


async def land(one: SharedFlight, *, failed: bool = False) -> None:
    """End the lead of a process."""
    owner = one.landed("a")
    assert owner is not None
    await one.give_up("a", owner, failed=failed)


def soon(seconds: float = 30.0) -> float:
    return asyncio.get_running_loop().time() + seconds


def answer() -> StoredAnswer:
    return StoredAnswer([], b"body", False, time.time(), time.time() + 60)


async def test_one_process_leads_and_the_others_get_its_answer() -> None:
    leads = Leads()
    first, second = flight(leads), flight(leads)
    assert await first.lead("a", leads.find, soon()) is None
    waiting = asyncio.create_task(second.lead("a", leads.find, soon()))
    await eventually(lambda: leads.renewed, patience_s=30)
    assert not waiting.done()
    leads.answer = answer()
    await land(first)
    assert await waiting is leads.answer
    assert second.landed("a") is None
    await first.close()


async def test_after_a_failure_all_are_sent() -> None:
    leads = Leads()
    first, *others = (flight(leads) for _ in range(3))
    await first.lead("a", leads.find, soon())
    waiting = [asyncio.create_task(one.lead("a", leads.find, soon())) for one in others]
    await asyncio.sleep(0)
    await land(first, failed=True)
    assert await asyncio.gather(*waiting) == [None, None]
    assert [one.landed("a") for one in others] == [None, None]
    await first.close()


async def test_after_a_leader_that_left_one_other_leads() -> None:
    leads = Leads()
    first, *others = (flight(leads) for _ in range(3))
    await first.lead("a", leads.find, soon())
    waiting = [asyncio.create_task(one.lead("a", leads.find, soon())) for one in others]
    await asyncio.sleep(0)
    await land(first)
    done, still = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(still)) == (1, 1)
    leads.answer = answer()
    assert await still.pop() is leads.answer
    for one in (first, *others):
        await one.close()


async def test_nobody_waits_for_too_long_or_for_a_store_that_is_away() -> None:
    leads = Leads()
    first, second = flight(leads), flight(leads)
    await first.lead("a", leads.find, soon())
    assert await second.lead("a", leads.find, soon(0.05)) is None
    leads.is_away = True
    told: list[StoreUnavailable] = []
    third = SharedFlight(leads, told.append)
    assert await third.lead("a", leads.find, soon()) is None
    assert len(told) == 1
    await first.close()


async def test_a_request_that_is_cancelled_while_it_takes_the_lead_gives_it_up() -> None:
    leads = Leads()
    one = flight(leads)
    taking = asyncio.create_task(one.lead("a", leads.find, soon()))
    await asyncio.sleep(0)  # the registry is being asked
    taking.cancel()
    await asyncio.wait([taking])
    leads.owners["a"] = leads.asked  # the registry has taken it
    await land(one)
    assert leads.owners == {}


async def test_an_answer_that_came_meanwhile_is_used() -> None:
    leads = Leads()
    one = flight(leads)
    leads.answer = answer()
    assert await one.lead("a", leads.find, soon()) is leads.answer
    await land(one)
    await one.close()


async def test_the_next_request_of_a_process_may_lead_while_a_lead_is_given_up() -> None:
    leads = Leads()
    one = flight(leads)
    await one.lead("a", leads.find, soon())
    owner = one.landed("a")
    assert owner is not None
    following = asyncio.create_task(one.lead("a", leads.find, soon()))
    await asyncio.sleep(0)
    await one.give_up("a", owner, failed=False)
    assert await following is None
    await land(one)
    assert leads.owners == {}
    await one.close()
