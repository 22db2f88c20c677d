"""A store that fails is a miss; equal requests wait for one."""

from __future__ import annotations

import asyncio
import time

from gateway.response_cache.cache import AnswerCache, Landing
from gateway.response_cache.store import AnswerLabels
from gateway.response_cache.stored_answer import StoredAnswer
from gateway.store.records import StoreUnavailable
from gateway.stores.memory.answers import MemoryAnswers

LABELS = AnswerLabels("r", "m", "t")


def answer(lifetime_s: float = 60.0) -> StoredAnswer:
    now = time.time()
    return StoredAnswer([], b"body", False, now, now + lifetime_s)


class Failing(MemoryAnswers):
    """Store that fails while `fails` is set."""

    fails = True
    calls = 0

    async def get(self, key: str) -> bytes | None:
        self.calls += 1
        if self.fails:
            raise StoreUnavailable("away")
        return await super().get(key)


async def test_a_kept_answer_is_found_until_it_expires() -> None:
    cache = AnswerCache(MemoryAnswers(10**6))
    kept = answer()
    assert cache.keep("a", kept, LABELS)
    assert cache.keep("b", answer(-1.0), LABELS)
    await asyncio.sleep(0)
    assert await cache.find("a") == kept
    assert await cache.find("b") is None
    await cache.close()


async def test_a_store_that_fails_is_not_asked_for_a_second() -> None:
    told: list[tuple[str, str]] = []
    now = 0.0
    store = Failing(10**6)
    cache = AnswerCache(store, report=lambda *said: told.append(said), now=lambda: now)
    assert await cache.find("a") is None
    assert await cache.find("a") is None
    assert not cache.keep("a", answer(), LABELS)
    assert (store.calls, cache.counts.failures) == (1, 1)
    now, store.fails = 1.5, False
    assert await cache.find("a") is None
    assert told == [("lost", "away"), ("back", "")]


async def test_those_who_wait_get_the_answer_of_the_leader() -> None:
    cache = AnswerCache(MemoryAnswers(10**6))
    assert cache.lead("a")
    assert not cache.lead("a")
    now = asyncio.get_running_loop().time()
    waiting = [asyncio.create_task(cache.await_leader("a", now + 60.0)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    made = Landing(answer())
    cache.landed("a", made)
    assert await asyncio.gather(*waiting[1:]) == [made, made]
    assert await cache.await_leader("a", now + 60.0) is None
    assert cache.lead("a")
    assert await cache.await_leader("a", now) is None
