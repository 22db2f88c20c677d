"""Two gateways and one Redis: a stream is followed on either, and survives the one that ran it."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.resume.streams import (
    EVENTS,
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
from tests.support.gateway import StartGateway
from tests.support.redis import Redis
from tests.support.upstream import (
    ScriptedUpstream,
    json_reply,
    sse_reply,
)


async def test_a_finished_stream_is_resumed_at_every_boundary_on_another_replica(
    redis: Redis, start_gateway: StartGateway
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        one, two = [await start_gateway(config(upstream, redis)) for _ in range(2)]
        stream = stream_id(await ask(one, post()))
        for after in range(len(EVENTS)):
            again = await ask(two, follow(stream, query=f"?after={after}"))
            assert again.clean_end
            assert payload(again.body) == EVENTS[after:]
            assert numbers(again.body) == [*range(after + 1, len(EVENTS) + 1)]
        last = f"Last-Event-ID: {stream}.{len(EVENTS)}"
        assert (await ask(two, follow(stream, last))).status == 204
        assert (await ask(two, follow("0" * 34))).status == 404
        assert len(upstream.requests) == 1


async def test_a_generation_is_cancelled_from_another_replica(
    redis: Redis, upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    one, two = [
        await start_gateway(config(upstream, redis, on_disconnect="detach")) for _ in range(2)
    ]
    stream = await begin(one, upstream)
    assert (await ask(two, follow(stream, method="DELETE"), "DELETE")).status == 204
    await upstream.connections[0].wait_client_gone()
    assert b"stream_cancelled" in (await ask(two, follow(stream))).body


async def test_a_key_is_single_flight_among_replicas(
    redis: Redis, upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    one, two = [await start_gateway(config(upstream, redis)) for _ in range(2)]
    key = "Idempotency-Key: k1"
    async with RawClient(one.port) as here, RawClient(two.port) as there:
        for client in (here, there):
            await client.send(post(key))
        await upstream.wait_requests(1)
        await upstream.release(EVENTS[0])
        heads = [await here.read_head(), await there.read_head()]
        assert heads[0].value("x-stream-id") == heads[1].value("x-stream-id")
        for client in (here, there):
            assert payload(await client.read_chunk() or b"") == EVENTS[:1]
        await upstream.finish()
        for client in (here, there):
            assert await client.read_chunk() is None
    for door in (one, two):
        other = await ask(door, post(key, body=b'{"other": 1}'))
        assert other.status == 422
    assert len(upstream.requests) == 1


async def test_a_key_that_came_to_nothing_is_free_again_among_replicas(
    redis: Redis, start_gateway: StartGateway
) -> None:
    async with ScriptedUpstream(json_reply({"ok": 1})) as upstream:
        one, two = [await start_gateway(config(upstream, redis)) for _ in range(2)]
        raw = post("Idempotency-Key: k1")
        answers = await asyncio.gather(*(ask(door, raw) for door in (one, two, one, two)))
        assert [answer.json() for answer in answers] == [{"ok": 1}] * 4


@pytest.mark.parametrize("how", ["serve", "refuse"])
async def test_without_redis_a_route_keeps_streams_in_memory_or_refuses(
    redis: Redis, start_gateway: StartGateway, how: str
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream, redis, on_store_error=how))
        stream = stream_id(await ask(gateway, post()))
        redis.signal(signal.SIGKILL)
        await gateway.wait_for_log(lambda line: line.get("store") == "lost")
        answer = await ask(gateway, post())
        if how == "serve":
            assert answer.value("x-resume") == b"deferred"
            assert payload(answer.body) == EVENTS
            assert payload((await ask(gateway, follow(stream_id(answer)))).body) == EVENTS
        else:
            assert answer.status == 503
            assert answer.json()["error"]["code"] == "resume_unavailable"
        assert payload((await ask(gateway, follow(stream))).body) == EVENTS  # it is in memory
        assert (await ask(gateway, follow("0" * 34))).status == 503
        await redis.stop()
        await redis.start()
        await gateway.wait_for_log(lambda line: line.get("store") == "back")
        assert stream_id(await ask(gateway, post()))


async def test_a_refused_answer_names_no_stream_and_its_upstream_is_left(
    redis: Redis, upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(config(upstream, redis, on_store_error="refuse"))
    async with RawClient(gateway.port) as client:
        await client.send(post())
        await upstream.wait_requests(1)
        await redis.stop()
        await upstream.release(EVENTS[0])
        answer = await client.read_response("POST")
    assert answer.status == 503
    assert answer.json()["error"]["code"] == "resume_unavailable"
    assert answer.value("x-stream-id") is None
    await upstream.connections[0].wait_client_gone()
