"""Micro-batching on the wire: what a client gets of a route that gathers events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.resume.streams import follow, numbers, post, stream_id
from tests.support.bridge import bridge_client, bridged, texts
from tests.support.client import RawClient
from tests.support.codings import decoder
from tests.support.exchange import POST, ask, read_stream
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    stepped_stream,
)

TOKENS = [b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(8)]
TOKENS.append(b'data: {"choices":[{"delta":{"content":"8"},"finish_reason":"stop"}]}\n\n')
SLOW = {"max_delay": "2s", "max_events": 4}
"""Batches that fill up before anything is sent by time."""


def played(*ends: bytes) -> Script:
    """Script that sends each token in a packet of its own, then each of `ends`."""

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD)
        for token in TOKENS:
            await connection.send(chunk(token))
            await asyncio.sleep(0.002)
        for end in ends:
            await connection.send(end)
        if ends[-1] is not LAST_CHUNK:
            connection.reset()

    return script


async def chunks(client: RawClient) -> list[bytes]:
    """Return the chunks of a body up to its last one, or to the end of the connection."""
    found = []
    while (piece := await client.read_chunk()) is not None:
        found.append(piece)
    return found


async def test_a_client_gets_the_first_token_at_once_and_then_batches(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(played(LAST_CHUNK)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, batch=SLOW))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            found = await chunks(client)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert found == [TOKENS[0], b"".join(TOKENS[1:5]), b"".join(TOKENS[5:])]
    assert line["bytes_out"] == sum(map(len, TOKENS))


async def test_an_event_waits_for_the_delay_and_not_for_the_next_event(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, batch={"max_delay": "40ms"}))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            read = b""
            for token in TOKENS[-4:]:
                await upstream.release(token)
                read += await client.read_chunk() or b""
            assert read == b"".join(TOKENS[-4:])
            await upstream.finish()
            assert await client.read_chunk() is None


@pytest.mark.parametrize("route", [{}, {"resume": {}}], ids=["passed", "kept"])
async def test_events_that_wait_come_before_the_error_that_ends_the_stream(
    start_gateway: StartGateway, route: dict[str, Any]
) -> None:
    async with ScriptedUpstream(played(chunk(b": x\n\n"))) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, batch=SLOW, **route))
        response = await ask(gateway.port)
    assert b'"8"' in response.body
    assert response.body.index(b'"8"') < response.body.index(b"upstream_reset")
    assert not response.clean_end


async def test_a_kept_stream_is_gathered_with_its_ids_and_resumes_behind_any_of_them(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(played(LAST_CHUNK)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, batch=SLOW, resume={}))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            stream = stream_id(await client.read_head())
            found = await chunks(client)
        async with RawClient(gateway.port) as client:
            await client.send(follow(stream, f"Last-Event-ID: {stream}.3"))
            await client.read_head()
            rest, complete = await read_stream(client)
    assert numbers(b"".join(found)) == [*range(1, 10)]
    assert numbers(found[0]) == [1]
    assert len(found) <= 5
    assert complete
    assert numbers(rest) == [*range(4, 10)]


async def test_a_batch_is_compressed_as_a_whole_and_can_be_decoded_when_it_arrives(
    start_gateway: StartGateway,
) -> None:
    sizes = []
    async with ScriptedUpstream(played(LAST_CHUNK)) as upstream:
        for batch in (None, SLOW):
            gateway = await start_gateway(
                simple_config(upstream.url, batch=batch, compress=["gzip"])
            )
            async with RawClient(gateway.port) as client:
                await client.send(POST.replace(b"\r\n\r\n", b"\r\nAccept-Encoding: gzip\r\n\r\n"))
                await client.read_head()
                decode = decoder("gzip")
                found = await chunks(client)
                decoded = [decode(piece) for piece in found]
            assert b"".join(decoded) == b"".join(TOKENS)
            sizes.append(sum(map(len, found)))
    assert decoded[:3] == [TOKENS[0], b"".join(TOKENS[1:5]), b"".join(TOKENS[5:])]
    assert sizes[1] < sizes[0]


async def test_a_translated_stream_is_the_same_with_and_without_batches(
    start_gateway: StartGateway,
) -> None:
    bodies = []
    done = chunk(b"data: [DONE]\n\n")
    async with ScriptedUpstream(played(done, LAST_CHUNK)) as upstream:
        for batch in (None, SLOW):
            config = simple_config(upstream.url, dialect="anthropic", batch=batch)
            config["upstreams"]["main"]["dialect"] = "openai"
            config["models"] = {"m": {"upstream": "main"}}
            route = config["routes"][0]
            route["models"] = ["m"]
            route.pop("upstream")
            gateway = await start_gateway(config)
            async with RawClient(gateway.port) as client:
                body = b'{"model":"m","max_tokens":9,"stream":true,"messages":[]}'
                head = b"POST /v1/messages HTTP/1.1\r\nHost: gw\r\nContent-Length: %d\r\n\r\n"
                await client.send(head % len(body) + body)
                await client.read_head()
                bodies.append(await chunks(client))
    plain, batched = bodies
    assert b"message_stop" in batched[-1]
    assert len(batched) < len(plain)
    assert _without_ids(b"".join(plain)) == _without_ids(b"".join(batched))


def _without_ids(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if b"message_start" not in line]


async def test_heartbeats_come_between_batches(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        config = simple_config(upstream.url, batch={"max_delay": "20ms"}, heartbeat="50ms")
        gateway = await start_gateway(config)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            read = b""
            for token in TOKENS[:3]:
                await upstream.release(token)
                while not read.endswith(token + b": heartbeat\n"):
                    read += await client.read_chunk() or b""
    assert read.replace(b": heartbeat\n", b"") == b"".join(TOKENS[:3])


async def test_a_bridge_sends_the_messages_of_a_batch_together(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(played(LAST_CHUNK)) as upstream:
        gateway = await start_gateway(bridged(upstream.url, batch=SLOW))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            heard = await client.end_of("a")
    assert len(texts(heard)) == len(TOKENS)
    assert heard[-1]["type"] == "done"
