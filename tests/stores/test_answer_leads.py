"""Leads of the response cache in a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.response_cache.store import AnswerLeads, LeadState
from gateway.store.records import StoreUnavailable
from gateway.stores.memory.answers import MemoryAnswers
from gateway.stores.redis.answer_leads import RedisAnswerLeads
from gateway.stores.redis.answers import RedisAnswers
from gateway.stores.redis.client import connect, disconnect
from tests.support.redis import Redis, StartRedis
from tests.support.waiting import asked_until

LEADS, FOLLOWS, FAILED = LeadState.LEADS, LeadState.FOLLOWS, LeadState.FAILED


@pytest.fixture
async def redis(start_redis: StartRedis) -> Redis:
    return await start_redis()


@pytest.fixture
async def leads(redis: Redis) -> AsyncIterator[AnswerLeads]:
    store = RedisAnswers(redis.url, 10_000)
    assert store.leads is not None
    yield store.leads
    await store.close()


async def test_one_request_leads_until_it_gives_up(leads: AnswerLeads) -> None:
    assert await leads.take("a", "one") is LEADS
    assert await leads.take("a", "one") is LEADS
    assert await leads.take("a", "two") is FOLLOWS
    assert await leads.take("b", "two") is LEADS
    await leads.give_up("a", "two", failed=False)  # it does not lead
    assert await leads.take("a", "two") is FOLLOWS
    await leads.give_up("a", "one", failed=False)
    assert await leads.take("a", "two") is LEADS


async def test_those_who_wait_are_told_of_a_failure_for_a_moment(
    leads: AnswerLeads,
) -> None:
    await leads.take("a", "one")
    await leads.give_up("a", "one", failed=True)
    assert await leads.take("a", "two") is FAILED
    await asked_until(lambda: leads.take("a", "two"), lambda state: state is LEADS)


async def test_a_lead_that_is_not_renewed_ends(redis: Redis, leads: AnswerLeads) -> None:
    client = connect(redis.url, 0.5)
    brief = RedisAnswerLeads(client, 0.5, lease_s=0.2)
    await leads.take("kept", "one")
    await brief.take("lost", "one")
    await brief.renew({"stranger": "one"})
    await asked_until(lambda: brief.take("lost", "two"), lambda state: state is LEADS)
    await leads.renew({"lost": "two", "kept": "one"})
    assert await leads.take("kept", "two") is FOLLOWS
    assert await leads.take("lost", "one") is FOLLOWS
    await disconnect(client)


async def test_a_redis_that_is_away_is_told(redis: Redis, leads: AnswerLeads) -> None:
    await redis.stop()
    with pytest.raises(StoreUnavailable):
        await leads.take("a", "one")
    with pytest.raises(StoreUnavailable):
        await leads.give_up("a", "one", failed=False)


def test_a_store_of_one_process_needs_no_leads() -> None:
    assert MemoryAnswers(1000).leads is None
