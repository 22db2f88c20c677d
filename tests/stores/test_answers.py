"""What every store of answers does alike: in memory, and in a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from gateway.response_cache.store import AnswerLabels, AnswerStore
from gateway.store.records import StoreUnavailable
from gateway.stores.memory.answers import MemoryAnswers
from gateway.stores.redis.answers import RedisAnswers
from tests.support.redis import StartRedis
from tests.support.redis_groups import cluster_of
from tests.support.waiting import asked_until

LABELS = AnswerLabels("route", "model", "tenant")
CAP_BYTES = 10_000
Start = Callable[[], AnswerStore]


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, start_redis: StartRedis) -> AsyncIterator[Start]:
    url = (await start_redis()).url if request.param == "redis" else ""
    made: list[AnswerStore] = []

    def start() -> AnswerStore:
        if not url and made:
            return made[0]
        one = RedisAnswers(url, CAP_BYTES) if url else MemoryAnswers(CAP_BYTES)
        made.append(one)
        return one

    yield start
    for one in made:
        await one.close()


async def test_an_answer_is_found_by_its_key(store: Start) -> None:
    one = store()
    await one.put("a", b"\0\xff", LABELS, 60.0)
    assert await store().get("a") == b"\0\xff"
    assert await store().get("b") is None
    await one.put("a", b"2", LABELS, 60.0)
    assert await store().get("a") == b"2"


async def test_an_answer_expires_and_frees_its_bytes(store: Start) -> None:
    one = store()
    await one.put("a", b"x" * 5000, LABELS, 0.05)
    size = one.size_bytes
    assert size > 5000
    await asked_until(lambda: one.get("a"), lambda found: found is None)
    await one.put("b", b"x" * 5000, LABELS, 60.0)
    assert (one.size_bytes, one.evicted) == (size, 0)


async def test_the_least_recently_used_answers_make_room(store: Start) -> None:
    one = store()
    for key in ("a", "b", "c"):
        await one.put(key, key.encode() * 2000, LABELS, 60.0)
        await asked_until(lambda: one.get("a"), lambda found: found is not None)
    await one.put("d", b"d" * 2500, LABELS, 60.0)
    found = [key for key in ("a", "b", "c", "d") if await one.get(key) is not None]
    assert (found, one.evicted) == (["a", "c", "d"], 1)
    await one.put("e", b"e" * 20_000, LABELS, 60.0)
    assert await one.get("e") is None
    assert await one.get("d") is not None
    assert one.size_bytes <= CAP_BYTES


async def test_answers_are_removed_by_their_labels(store: Start) -> None:
    one = store()
    for number, labels in enumerate(
        (
            LABELS,
            AnswerLabels("route", "other", "tenant"),
            AnswerLabels("route", "model", None),
            AnswerLabels("elsewhere", "ünï \"'", "\ud800"),
        )
    ):
        await one.put(str(number), b"x", labels, 60.0)
    assert await one.remove(AnswerLabels(tenant="nobody")) == 0
    assert await one.remove(AnswerLabels("route", "model")) == 2
    assert await one.remove(AnswerLabels(model="ünï \"'")) == 1
    assert [await one.get(str(number)) for number in range(4)] == [None, b"x", None, None]
    assert await one.remove(AnswerLabels()) == 1
    await one.put("a", b"", LABELS, 60.0)
    assert one.size_bytes < 1000


async def test_a_redis_that_is_gone_is_an_unavailable_store(start_redis: StartRedis) -> None:
    redis = await start_redis()
    one = RedisAnswers(redis.url, CAP_BYTES)
    await redis.stop()
    for call in (
        lambda: one.get("a"),
        lambda: one.put("a", b"", LABELS, 1.0),
        lambda: one.remove(AnswerLabels()),
    ):
        with pytest.raises(StoreUnavailable):
            await call()
    await one.close()


async def test_a_cluster_keeps_all_answers_on_one_node(start_redis: StartRedis) -> None:
    node, *_ = await cluster_of(start_redis)
    one = RedisAnswers(f"redis+cluster://127.0.0.1:{node.port}", CAP_BYTES, timeout_s=20.0)
    for key in ("a", "b", "c", "d"):
        await one.put(key, b"x" * 2000, LABELS, 60.0)
    assert [await one.get(key) is not None for key in ("a", "d")] == [False, True]
    assert await one.remove(AnswerLabels("route")) == 3
    await one.close()
