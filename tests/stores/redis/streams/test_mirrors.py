"""A stream that another replica runs is followed through a mirror."""

from __future__ import annotations

import asyncio

import pytest

from tests.resume.streams import (
    EVENTS,
    follow,
    payload,
    post,
)
from tests.stores.redis.streams.shared import config
from tests.support.client import RawClient
from tests.support.gateway import StartGateway, simple_config
from tests.support.redis import Redis, StartRedis
from tests.support.upstream import (
    ScriptedUpstream,
)
from tests.support.waiting import asked_until, eventually


async def cluster(start_redis: StartRedis) -> str:
    """The URL of a Redis Cluster, of one node that has everything."""
    redis = await start_redis("--cluster-enabled", "yes")
    await redis.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    await asked_until(
        lambda: redis.command("CLUSTER", "INFO"), lambda said: b"cluster_state:ok" in said
    )
    return redis.url.replace("redis:", "redis+cluster:").removesuffix("/0")


@pytest.mark.parametrize("kind", ["redis", "cluster"])
async def test_a_stream_is_followed_live_on_another_replica(
    kind: str,
    upstream: ScriptedUpstream,
    start_gateway: StartGateway,
    start_redis: StartRedis,
) -> None:
    url = await cluster(start_redis) if kind == "cluster" else (await start_redis()).url
    given = {**simple_config(upstream.url, resume={}), "store": {"url": url}}
    one, two = [await start_gateway(given) for _ in range(2)]
    async with RawClient(one.port) as here, RawClient(two.port) as there:
        await here.send(post())
        await upstream.wait_requests(1)
        stream = ((await here.read_head()).value("x-stream-id") or b"").decode()
        await upstream.release(EVENTS[0])
        await here.read_chunk()
        await there.send(follow(stream))
        await there.read_head()
        assert payload(await there.read_chunk() or b"") == EVENTS[:1]
        for event in EVENTS[1:]:
            await upstream.release(event)
            assert payload(await there.read_chunk() or b"") == [event]
        await upstream.finish()
        assert await there.read_chunk() is None


async def test_a_reader_on_another_replica_keeps_a_generation_going(
    redis: Redis, upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    one, two = [
        await start_gateway(config(upstream, redis, on_disconnect="grace", grace="500ms"))
        for _ in range(2)
    ]
    async with RawClient(one.port) as here, RawClient(two.port) as there:
        await here.send(post())
        stream = ((await here.read_head()).value("x-stream-id") or b"").decode()
        await upstream.release(EVENTS[0])
        await there.send(follow(stream))
        await there.read_head()
        assert payload(await there.read_chunk() or b"") == EVENTS[:1]
        log = one.server.runtime.streams.local(stream)
        assert log is not None
        await eventually(lambda: len(log.readers) == 2)
        here.reset()
        await asyncio.sleep(0.8)  # what nobody reads would be cancelled by now
        await upstream.release(EVENTS[1])
        assert payload(await there.read_chunk() or b"") == EVENTS[1:2]
        there.reset()
    await upstream.connections[0].wait_client_gone()
