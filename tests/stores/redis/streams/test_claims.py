"""Claims in Redis: one request gets a key; only its holder drops it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from gateway.resume.claims import Claim
from gateway.stores.redis.client import connect, disconnect
from gateway.stores.redis.streams import keys
from gateway.stores.redis.streams.claims import RedisClaims
from tests.support.redis import Redis, StartRedis

BODY = b"b" * 16


class Rig:
    """Claims of one replica. `dropped` waits for what it does in the background."""

    def __init__(self, client: Any) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self.claims = RedisClaims(client, contextlib.nullcontext, self._spawn)

    async def dropped(self) -> None:
        await asyncio.gather(*self._tasks)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))


@pytest.fixture
async def redis(start_redis: StartRedis) -> Redis:
    return await start_redis()


@pytest.fixture
async def rig(redis: Redis) -> AsyncIterator[Rig]:
    client = connect(redis.url, 2.0)
    yield Rig(client)
    await disconnect(client)


async def test_of_two_requests_with_a_key_the_second_finds_the_first(rig: Rig) -> None:
    first, second = Claim(BODY, "one"), Claim(b"c" * 16, "two")
    assert await rig.claims.find(b"k") is None
    assert await rig.claims.take(b"k", first) == first
    assert await rig.claims.take(b"k", second) == first
    assert await rig.claims.find(b"k") == first
    assert await rig.claims.take(b"other", second) == second


async def test_only_the_holder_drops_a_claim(rig: Rig) -> None:
    await rig.claims.take(b"k", Claim(BODY, "one"))
    rig.claims.drop(b"k", "two")
    await rig.dropped()
    assert await rig.claims.find(b"k") == Claim(BODY, "one")
    rig.claims.drop(b"k", "one")
    await rig.dropped()
    assert await rig.claims.find(b"k") is None


async def test_a_claim_expires_unless_it_is_renewed(rig: Rig, redis: Redis) -> None:
    await rig.claims.take(b"k", Claim(BODY, "one"))
    await redis.command("PEXPIRE", keys.claim(b"k"), "1000")
    await rig.claims.renew()
    assert int((await redis.command("PTTL", keys.claim(b"k")))[1:]) > 1000


async def test_a_claim_that_redis_has_lost_is_taken_again(redis: Redis, rig: Rig) -> None:
    lost, other = Claim(BODY, "one"), Claim(BODY, "two")
    for key in (b"free", b"taken"):
        await rig.claims.take(key, lost)
    await redis.command("FLUSHALL")
    await redis.command("SET", keys.claim(b"taken"), BODY.decode() + "two")
    rig.claims.doubt()
    await rig.claims.renew()
    assert await redis.command("GET", keys.claim(b"free")) == BODY + b"one"
    assert await rig.claims.find(b"taken") == other
    rig.claims.drop(b"taken", "one")
    await rig.dropped()
    assert await rig.claims.find(b"taken") == other
