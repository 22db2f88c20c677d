"""Streams in Redis: what survives an outage of Redis or the end of a replica."""

from __future__ import annotations

import os
import signal

import pytest

from tests.resume.streams import (
    EVENTS,
    IMPATIENT,
    ask,
    begin,
    follow,
    numbers,
    payload,
    post,
    stream_id,
)
from tests.stores.redis.streams.shared import config
from tests.support.client import RawClient
from tests.support.gateway import StartGateway, StartGatewayProcess
from tests.support.redis import Redis
from tests.support.upstream import (
    ScriptedUpstream,
    sse_reply,
)
from tests.support.waiting import asked_until


async def test_e12_a_killed_owner_leaves_what_is_journalled_and_an_error(
    redis: Redis, upstream: ScriptedUpstream, start_gateway_process: StartGatewayProcess
) -> None:
    one, two = [
        await start_gateway_process(
            config(upstream, redis, on_disconnect="detach"), first=IMPATIENT
        )
        for _ in range(2)
    ]
    stream = await begin(one, upstream)
    async with RawClient(two.port, patience_s=20) as there:
        await there.send(follow(stream))
        await there.read_head()
        assert payload(await there.read_chunk() or b"") == EVENTS[:1]
        os.kill(one.pid, signal.SIGKILL)
        assert b"stream_lost" in (await there.read_chunk() or b"")
        await there.wait_closed()
    late = await ask(two, follow(stream))
    assert not late.clean_end
    assert payload(late.body) == EVENTS[:1]
    assert b"stream_lost" in late.body


@pytest.mark.parametrize("how", ["hangs", "begins anew"])
async def test_a_stream_that_outlives_an_outage_of_redis_is_whole_afterwards(
    redis: Redis, upstream: ScriptedUpstream, start_gateway: StartGateway, how: str
) -> None:
    one, two = [await start_gateway(config(upstream, redis)) for _ in range(2)]
    async with RawClient(one.port) as client:
        await client.send(post())
        await upstream.wait_requests(1)
        stream = ((await client.read_head()).value("x-stream-id") or b"").decode()
        await upstream.release(EVENTS[0])
        assert payload(await client.read_chunk() or b"") == EVENTS[:1]
        redis.signal(signal.SIGSTOP)
        for event in EVENTS[1:4]:
            await upstream.release(event)
            assert payload(await client.read_chunk() or b"") == [event]  # nobody here waits for it
        if how == "hangs":
            await one.wait_for_log(lambda line: line.get("store") == "lost")
            redis.signal(signal.SIGCONT)
        else:
            await redis.stop()
            await redis.start()
        for event in EVENTS[4:]:
            await upstream.release(event)
            assert payload(await client.read_chunk() or b"") == [event]
        await upstream.finish()
        assert await client.read_chunk() is None
    again = await asked_until(  # it is written again
        lambda: ask(two, follow(stream)), lambda answer: answer.status == 200, patience_s=20
    )
    assert payload(again.body) == EVENTS
    assert numbers(again.body) == [*range(1, len(EVENTS) + 1)]
    left_ms = await redis.command("PTTL", f"llm-gateway:stream:{{{stream}}}:events")
    assert int(left_ms[1:]) > 0


@pytest.mark.parametrize("lost", [4, len(EVENTS)], ids=["in the middle", "the last event"])
async def test_events_that_a_failover_loses_unnoticed_are_written_again(
    redis: Redis, upstream: ScriptedUpstream, start_gateway: StartGateway, lost: int
) -> None:
    one, two = [await start_gateway(config(upstream, redis)) for _ in range(2)]
    async with RawClient(one.port) as here, RawClient(two.port) as there:
        await here.send(post())
        await upstream.wait_requests(1)
        stream = ((await here.read_head()).value("x-stream-id") or b"").decode()
        name = f"llm-gateway:stream:{{{stream}}}:events"
        for number, event in enumerate(EVENTS, 1):
            await upstream.release(event)
            assert payload(await here.read_chunk() or b"") == [event]
            await eventually_there(redis, name, number)
            if number == 1:
                await there.send(follow(stream))
            if number == lost:  # as if the replica that is the master now had not received it
                assert await redis.command("XDEL", name, f"{number}-0") == b":1\r\n"
        await upstream.finish()
        assert await here.read_chunk() is None
        followed = await there.read_response()
    again = await ask(two, follow(stream))
    for answer in (followed, again):
        assert answer.clean_end
        assert payload(answer.body) == EVENTS


async def eventually_there(redis: Redis, name: str, number: int) -> None:
    """Return once Redis has the event with this number."""
    await asked_until(
        lambda: redis.command("XRANGE", name, f"{number}-0", f"{number}-0"),
        lambda reply: reply == b"*1\r\n",
    )


async def test_a_stream_that_has_dropped_events_is_written_again_from_the_next_one(
    redis: Redis, start_gateway: StartGateway
) -> None:
    events = [b"data: %d %b\n\n" % (number, b"x" * 65_536) for number in range(12)]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        one, two = [
            await start_gateway(config(upstream, redis, max_bytes="512KiB")) for _ in range(2)
        ]
        stream = stream_id(await ask(one, post()))
        await redis.command("FLUSHALL")
        last = f"Last-Event-ID: {stream}.{len(events) - 1}"
        again = await asked_until(
            lambda: ask(two, follow(stream, last)), lambda answer: answer.status == 200
        )
        log = one.server.runtime.streams.local(stream)
        assert log is not None
        assert log.first > 1
    assert payload(again.body) == events[-1:]
