"""Channels in Redis: replicas that share one, and a Redis that fails."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from gateway.channels.ids import parsed
from tests.channels.clients import (
    PUBLISHER,
    Reader,
    config,
    joined_while_published,
    posting,
    publish,
    until_followed,
    until_published,
)
from tests.support.client import ask
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.redis import Redis, StartRedis
from tests.support.redis_groups import cluster_of, replica_known, sentinel_of
from tests.support.tokens import Auth
from tests.support.waiting import asked_until


@pytest.fixture
async def redis(start_redis: StartRedis, auth: Auth) -> Redis:
    return await start_redis()


def shared(redis: Redis, **channels: Any) -> dict[str, Any]:
    return {**config(**channels), "store": {"url": redis.url}}


@pytest.fixture
async def replicas(redis: Redis, start_gateway: StartGateway) -> list[RunningGateway]:
    return [await start_gateway(shared(redis)) for _ in range(2)]


async def test_replicas_share_channels(replicas: list[RunningGateway]) -> None:
    one, two = replicas
    async with Reader(one, "news") as here, Reader(two, "news") as there:
        await here.opened()
        await there.opened()
        ids = [await publish(replicas[n % 2], "news", f"n{n}") for n in range(6)]
        assert ids == sorted(set(ids), key=parsed)
        for reader in (here, there):
            assert await reader.data(6) == [f"n{number}" for number in range(6)]
        await until_followed(one, "news", 2)
        await until_followed(two, "news", 2)
    await until_followed(one, "news", 0)
    async with Reader(two, "news", query=f"?after={ids[3]}") as reader:
        assert await (await reader.opened()).data(2) == ["n4", "n5"]


async def test_followers_that_come_while_events_are_published_miss_none(
    replicas: list[RunningGateway],
) -> None:
    for replica in replicas:
        await joined_while_published(replica, "news")


async def test_a_repeated_request_publishes_once_at_whichever_replica(
    replicas: list[RunningGateway],
) -> None:
    key = "Idempotency-Key: one"
    ids = {await publish(replica, "news", "a", PUBLISHER, key) for replica in replicas}
    assert len(ids) == 1
    conflict = await ask(replicas[0].port, posting("news", b"b", PUBLISHER, key), "POST")
    assert conflict.status == 422
    async with Reader(replicas[0], "news", query="?after=0") as reader:
        await reader.opened()
        await publish(replicas[1], "news", "b")
        assert await reader.data(2) == ["a", "b"]


async def test_history_outlives_a_gateway(redis: Redis, start_gateway: StartGateway) -> None:
    first = await start_gateway(shared(redis))
    last_seen = await publish(first, "news", "seen")
    await publish(first, "news", "missed")
    await first.stop()
    second = await start_gateway(shared(redis))
    async with Reader(second, "news", query=f"?after={last_seen}") as reader:
        assert await (await reader.opened()).data(1) == ["missed"]


async def test_history_is_bounded_by_number_bytes_and_age(
    redis: Redis, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(
        shared(redis, history=3, history_bytes="16KiB", max_event="16KiB")
    )
    ids = [await publish(gateway, "many", f"n{number}") for number in range(5)]
    async with Reader(gateway, "many", query=f"?after={ids[0]}") as reader:
        assert await reader.notice("gap") == {"lost_after": ids[0], "lost_until": ids[1]}
        assert await (await reader.opened()).data(3) == ["n2", "n3", "n4"]
    sizes = [await publish(gateway, "large", "x" * 7000) for _ in range(4)]
    async with Reader(gateway, "large", query=f"?after={sizes[0]}") as reader:
        assert (await reader.notice("gap"))["lost_until"] == sizes[1]
    forgetful = await start_gateway(shared(redis, history_age="1s"))
    ids = [await publish(forgetful, "old", f"n{number}") for number in range(2)]
    await asyncio.sleep(1.1)  # the age
    async with Reader(forgetful, "old", query=f"?after={ids[0]}") as reader:
        assert await reader.notice("gap") == {"lost_after": ids[0], "lost_until": ids[1]}
    async with Reader(forgetful, "old", query=f"?after={ids[1]}") as reader:
        await reader.opened()


async def test_a_first_follower_sees_the_first_event_without_a_gap(
    replicas: list[RunningGateway],
) -> None:
    async with Reader(replicas[0], "new") as reader:
        await reader.opened()
        await publish(replicas[1], "new", "first")
        assert await reader.data(1) == ["first"]


async def test_followers_stay_while_redis_is_away(
    replicas: list[RunningGateway], redis: Redis
) -> None:
    one, two = replicas
    async with Reader(one, "news") as reader:
        await reader.opened()
        await publish(two, "news", "before")
        assert await reader.data(1) == ["before"]
        redis.signal(signal.SIGKILL)
        await redis.stop()
        refused = await ask(two.port, posting("news", b"x"), "POST")
        assert (refused.status, refused.json()["error"]["code"]) == (503, "channels_unavailable")
        await redis.start()  # empty: it has lost the channel
        await until_published(two, "news", b"after")
        event = await reader.event()
        if event.type == b"gateway.gap":
            event = await reader.event()
        assert event.data == b"after"


async def test_followers_go_on_when_a_sentinel_promotes_a_replica(
    start_redis: StartRedis, start_gateway: StartGateway, auth: Auth
) -> None:
    master = await start_redis("--repl-diskless-sync-delay", "0")
    replica = await start_redis("--replicaof", "127.0.0.1", str(master.port))
    sentinel = await sentinel_of(start_redis, master)
    await replica_known(master, sentinel)
    await asked_until(
        lambda: replica.info("replication"), lambda found: found["master_link_status"] == "up"
    )
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
    one, two = [await start_gateway({**config(), "store": {"url": url}}) for _ in range(2)]
    async with Reader(one, "news") as reader:
        await reader.opened()
        before = await publish(two, "news", "before")
        assert await reader.data(1) == ["before"]
        # What the replica lacks is lost, and told as a gap.
        await asked_until(lambda: keys(replica, "*:events"), bool)
        master.signal(signal.SIGKILL)
        await until_published(two, "news", b"after")
        assert await reader.data(1) == ["after"]
    async with Reader(two, "news", query=f"?after={before}") as reader:
        assert await (await reader.opened()).data(1) == ["after"]


async def test_a_cluster_keeps_channels_on_all_its_nodes(
    start_redis: StartRedis, start_gateway: StartGateway, auth: Auth
) -> None:
    nodes = await cluster_of(start_redis)
    url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
    one, two = [await start_gateway({**config(), "store": {"url": url}}) for _ in range(2)]
    for name in ("a", "b", "c", "d"):
        async with Reader(one, name) as reader:
            await reader.opened()
            first = await publish(two, name, "1")
            await publish(one, name, "2")
            assert await reader.data(2) == ["1", "2"]
        async with Reader(two, name, query=f"?after={first}") as reader:
            assert await (await reader.opened()).data(1) == ["2"]
    assert [bool(await keys(node, "*:events")) for node in nodes].count(True) > 1


async def test_no_id_is_given_twice_when_redis_loses_the_newest_events(
    replicas: list[RunningGateway], redis: Redis
) -> None:
    one, two = replicas
    async with Reader(one, "news") as reader:
        await reader.opened()
        await publish(two, "news", "before")
        await reader.data(1)
        (state,) = await keys(redis, "*:state")
        (events,) = await keys(redis, "*:events")
        # As if the clock of a former master was ahead, and a replica that lacks the rest took over.
        await redis.command("HSET", state, "l", "99999999999999-0")
        ahead = await publish(two, "news", "ahead")
        await reader.data(1)
        await redis.command("DEL", state, events)
        await publish(two, "news", "behind")
        gap = await reader.notice("gap")
        assert gap["lost_after"] == ahead
        assert parsed(await publish(two, "news", "after")) > parsed(gap["lost_until"])
        assert await reader.data(1) == ["after"]


async def keys(redis: Redis, pattern: str) -> list[str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.write(b"KEYS %b\r\n" % pattern.encode())
    count = int((await reader.readline())[1:])
    lines = [(await reader.readline(), await reader.readline())[1] for _ in range(count)]
    writer.close()
    return [line.strip().decode() for line in lines]


async def test_the_number_of_a_tenants_channels_is_counted_together(
    redis: Redis, start_gateway: StartGateway
) -> None:
    one, two = [await start_gateway(shared(redis, max_channels=2)) for _ in range(2)]
    await publish(one, "a", "x")
    await publish(two, "b", "x")
    refused = await ask(one.port, posting("c", b"x"), "POST")
    assert (refused.status, refused.json()["error"]["code"]) == (429, "too_many_channels")
    await publish(one, "b", "x")


async def test_a_tenant_without_places_keeps_nobody_from_counting_followers(
    redis: Redis, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.stores.redis.channels._KNOWN_S", 0.0)
    one, two = [await start_gateway(shared(redis, max_channels=1)) for _ in range(2)]
    async with Reader(one, "a") as first:
        await first.opened()
        (group,) = await keys(redis, "*:followed")
        # As if the process had been paused for long.
        others = "redis.call('DEL', KEYS[1]) redis.call('ZADD', KEYS[1], ARGV[1], 'other')"
        await redis.command("EVAL", others, "1", group, str(time.time()))
        async with Reader(one, "a") as second:
            await second.opened()
            await until_followed(two, "a", 2)
