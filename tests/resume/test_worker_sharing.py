"""Several workers and no Redis: whichever the kernel picks serves any stream of the others."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.resume.streams import EVENTS, ask, begin, follow, numbers, payload, post, stream_id
from tests.support.client import RawClient
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.upstream import ScriptedUpstream, sse_reply, stepped_stream

_TRIES = 24
"""Connections, of which each worker gets some."""


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        yield upstream


def config(upstream: ScriptedUpstream, **resume: Any) -> Mapping[str, Any]:
    return simple_config(upstream.url, server={"workers": 2}, resume=resume)


async def served_by(gateway: GatewayProcess, count: int) -> set[int]:
    """Which workers have logged this many requests together."""
    await gateway.log.wait_for(lambda _: len(gateway.log.requests) >= count)
    return {line["worker"] for line in gateway.log.requests}


async def test_a_finished_stream_is_resumed_at_every_boundary_on_either_worker(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway_process(config(upstream))
        stream = stream_id(await ask(gateway, post()))
        for number in range(_TRIES):
            after = number % len(EVENTS)
            again = await ask(gateway, follow(stream, query=f"?after={after}"))
            assert again.clean_end
            assert payload(again.body) == EVENTS[after:]
            assert numbers(again.body) == [*range(after + 1, len(EVENTS) + 1)]
        assert await served_by(gateway, _TRIES + 1) == {0, 1}
        for _ in range(_TRIES // 2):
            assert (await ask(gateway, follow("00" + "0" * 32))).status == 404
            assert (await ask(gateway, follow("ff" + "0" * 32))).status == 404
            assert (await ask(gateway, follow(stream, query="?after=99"))).status == 400
        assert len(upstream.requests) == 1


async def test_readers_on_both_workers_follow_live_and_either_cancels(
    upstream: ScriptedUpstream, start_gateway_process: StartGatewayProcess
) -> None:
    gateway = await start_gateway_process(config(upstream, on_disconnect="grace", grace="500ms"))
    clients = [RawClient(gateway.port) for _ in range(_TRIES)]
    async with RawClient(gateway.port) as first:
        await first.send(post())
        stream = ((await first.read_head()).value("x-stream-id") or b"").decode()
        await upstream.release(EVENTS[0])
        for client in clients:
            await client.__aenter__()
            await client.send(follow(stream))
            await client.read_head()
            assert payload(await client.read_chunk() or b"") == EVENTS[:1]
        first.reset()
    await asyncio.sleep(0.8)  # what nobody reads would be cancelled by now
    await upstream.release(EVENTS[1])
    for client in clients:
        assert payload(await client.read_chunk() or b"") == EVENTS[1:2]
        client.reset()
        await client.__aexit__(None, None, None)
    await upstream.connections[0].wait_client_gone()
    assert await served_by(gateway, _TRIES + 1) == {0, 1}
    for _ in range(_TRIES // 2):
        assert (await ask(gateway, follow(stream, method="DELETE"), "DELETE")).status == 204
        assert b"stream_cancelled" in (await ask(gateway, follow(stream))).body


async def test_a_key_is_single_flight_among_workers(
    upstream: ScriptedUpstream, start_gateway_process: StartGatewayProcess
) -> None:
    gateway = await start_gateway_process(config(upstream))
    clients = [RawClient(gateway.port) for _ in range(_TRIES)]
    for client in clients:
        await client.__aenter__()
        await client.send(post("Idempotency-Key: k1"))
    await upstream.wait_requests(1)
    await upstream.release(EVENTS[0])
    streams = set()
    for client in clients:
        streams.add((await client.read_head()).value("x-stream-id"))
        assert payload(await client.read_chunk() or b"") == EVENTS[:1]
    await upstream.finish()
    for client in clients:
        assert await client.read_chunk() is None
        await client.__aexit__(None, None, None)
    assert len(streams) == 1
    assert len(upstream.requests) == 1
    assert await served_by(gateway, _TRIES) == {0, 1}


async def test_a_repeat_passes_no_limit_on_either_worker(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        document = {**config(upstream), "limits": {"one": {"key": "ip", "requests": "1/day"}}}
        document["routes"][0]["limits"] = ["one"]
        gateway = await start_gateway_process(document)
        # Too long to come with the head: whether it is a repeat is decided before it is read.
        raw = post("Idempotency-Key: k1", body=b'{"stream": true, "x": "%b"}' % (b"x" * 100_000))
        for _ in range(_TRIES):
            assert payload((await ask(gateway, raw, "POST")).body) == EVENTS
        assert len(upstream.requests) == 1
        assert await served_by(gateway, _TRIES) == {0, 1}


async def test_e12_readers_of_a_killed_worker_get_an_error_and_its_streams_are_gone(
    upstream: ScriptedUpstream, start_gateway_process: StartGatewayProcess
) -> None:
    gateway = await start_gateway_process(config(upstream, on_disconnect="detach"))
    stream = await begin(gateway, upstream)
    slot = int(stream[:2], 16)
    clients = [RawClient(gateway.port) for _ in range(_TRIES)]
    for client in clients:
        await client.__aenter__()
        await client.send(follow(stream))
        await client.read_head()
        assert payload(await client.read_chunk() or b"") == EVENTS[:1]
    os.kill(gateway.worker_pids[slot], signal.SIGKILL)
    told = []
    for client in clients:
        rest = await client.read_to_end()
        told.append(b"stream_lost" in rest)
        await client.__aexit__(None, None, None)
    assert any(told)  # those of the killed one itself are cut
    assert (await ask(gateway, follow(stream))).status == 404
