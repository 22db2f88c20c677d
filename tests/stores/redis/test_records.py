"""Records in Redis: expiry of keys, and a Redis that does not answer."""

from __future__ import annotations

import signal

import pytest

from gateway.store.records import StoreUnavailable
from gateway.stores.redis.records import RedisRecords
from tests.support.redis import StartRedis


async def test_every_redis_key_expires_with_the_last_record_of_its_kind(
    start_redis: StartRedis,
) -> None:
    redis = await start_redis()
    records = RedisRecords(redis.url)
    await records.put("a", "x", b"1", 60.0)
    await records.put("a", "y", b"1", 30.0)
    for key in ("record:a:x", "index:a", "version:a"):
        left_ms = int((await redis.command("PTTL", "{llm-gateway}:" + key))[1:])
        assert 50_000 < left_ms <= 60_000, key
    await records.put("a", "for ever", b"1")
    assert await redis.command("PTTL", "{llm-gateway}:index:a") == b":-1\r\n"
    await records.close()


async def test_a_redis_that_hangs_or_is_gone_is_unavailable(start_redis: StartRedis) -> None:
    redis = await start_redis()
    records = RedisRecords(redis.url, timeout_s=0.1)
    await records.put("a", "x", b"1")
    redis.signal(signal.SIGSTOP)
    with pytest.raises(StoreUnavailable):
        await records.take("a", "x")
    redis.signal(signal.SIGCONT)
    await redis.stop()
    with pytest.raises(StoreUnavailable):
        await records.version("a")
    await records.close()


async def test_what_an_earlier_version_of_the_gateway_puts_is_noticed(
    start_redis: StartRedis,
) -> None:
    server = await start_redis()
    records = RedisRecords(server.url)
    await records.put("a", "x", b"1")
    mark = (await records.changes("a", None)).mark
    # It sets the version, and not the changes.
    await server.command("SET", "{llm-gateway}:version:a", "1.2")
    found = await records.changes("a", mark)
    assert found.keys is None
    await records.put("a", "y", b"1")
    assert (await records.changes("a", mark)).keys is None
    assert (await records.changes("a", found.mark)).keys in (None, ["y"])
    await records.close()
