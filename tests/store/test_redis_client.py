"""What every user of Redis relies on, against a real one."""

from __future__ import annotations

import asyncio

import pytest

from gateway.store.redis_client import answering, connect, disconnect
from tests.support.redis import StartRedis


async def test_a_cancellation_is_never_lost(start_redis: StartRedis) -> None:
    redis = await start_redis()
    client = connect(redis.url, 5.0)

    async def ask() -> None:
        with answering():
            async with asyncio.timeout(5):
                await client.ping()

    await ask()
    for turns in range(1, 6):
        for _ in range(20):
            asking = asyncio.create_task(ask())
            for _ in range(turns):
                await asyncio.sleep(0)
            if asking.done():
                continue
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
    await disconnect(client)
