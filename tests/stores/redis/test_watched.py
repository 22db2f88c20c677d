"""A client whose failures are noticed, with a real Redis."""

from __future__ import annotations

import asyncio
import signal

import pytest

from gateway.store.records import StoreUnavailable
from gateway.stores.redis import watched
from gateway.stores.redis.watched import WatchedRedis
from tests.support.redis import StartRedis


async def test_an_outage_and_its_end_are_each_reported_once(start_redis: StartRedis) -> None:
    redis = await start_redis()
    said: list[str] = []
    client = WatchedRedis(
        redis.url, 0.2, lambda state, _: said.append(state), lambda: said.append("on_back")
    )
    redis.signal(signal.SIGSTOP)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            async with client.reachable():
                await client.client.ping()
    assert not client.available
    redis.signal(signal.SIGCONT)
    async with client.reachable():
        await client.client.ping()
    for _ in range(2):
        client.changed(True)
    assert said == ["lost", "on_back", "back"]
    await client.disconnect()


async def test_listening_begins_again_after_an_outage(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "TICK_S", 0.05)
    redis = await start_redis()
    client = WatchedRedis(redis.url, 2.0, lambda state, why: None)
    heard: asyncio.Queue[str] = asyncio.Queue()
    begun: asyncio.Queue[None] = asyncio.Queue()
    client.tasks.spawn(client.listen("topic", heard.put_nowait, lambda: begun.put_nowait(None)))
    for word in ("before", "after"):
        await begun.get()
        await redis.command("PUBLISH", "topic", word)
        assert await heard.get() == word
        if word == "before":
            await redis.stop()
            await redis.start()
    await client.tasks.close()
    await client.disconnect()
