"""Comments in a silent event stream: where they come, and where none may."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.client import RawClient, request
from tests.support.control import beside_control
from tests.support.exchange import EVENTS, POST, read_stream
from tests.support.flood import PAGE, Flood, open_and_stall
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import (
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    stepped_stream,
)

COMMENT = b": heartbeat\n"
SOON = "50ms"
A_WHILE_S = 0.25
"""Several heartbeats would fit in. There is no event for "the gateway did nothing"."""


async def test_silence_is_broken_by_comments_and_no_byte_of_the_stream_is_changed(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat=SOON))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            assert await client.read_chunk() == COMMENT  # the head came, and then nothing
            rest = []
            for event in EVENTS:
                await upstream.release(event)
                while (piece := await client.read_chunk()) == COMMENT:
                    pass
                rest.append(piece)
                assert await client.read_chunk() == COMMENT
                assert await client.read_chunk() == COMMENT
            await upstream.finish()
            body, complete = await read_stream(client)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert rest == [*EVENTS]
    assert body.replace(COMMENT, b"") == b""
    assert complete
    # They are no bytes of the answer, and the first of them is not its first byte.
    assert line["bytes_out"] == sum(map(len, EVENTS))
    assert line["ttft_ms"] > 40


async def test_no_decoder_takes_what_the_gateway_says_for_an_event_without_data(
    start_gateway: StartGateway,
) -> None:
    """Some take every blank line for the end of an event: no block may be without data."""
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(
            simple_config(
                upstream.url,
                heartbeat="30ms",
                retry="2s",
                upstream={"timeouts": {"idle": "300ms"}},
            )
        )
        async with RawClient(gateway.port) as client:
            await client.send(request(headers=["Accept: text/event-stream"]))
            connection = await upstream.accept()
            await connection.read_request()
            await client.read_head()  # opened early, with advice and comments
            body = await client.read_chunk() or b""
            await connection.send(STREAM_HEAD)
            for event in EVENTS:
                body += await client.read_chunk() or b""
                await connection.send(chunk(event))
            body += (await read_stream(client))[0]  # to an error after more comments
    assert b"retry: 2000" in body
    assert body.count(b": heartbeat") >= 4
    assert b"upstream_idle_timeout" in body
    assert body.endswith(b"\n\n")
    blocks = body[:-2].split(b"\n\n")
    assert [block for block in blocks if b"data: " not in block] == []


@pytest.mark.parametrize("half", [b"data: x", b"data: x\n", b"data: x\r\n\r", b"\xef\xbb"])
async def test_none_comes_within_an_event(start_gateway: StartGateway, half: bytes) -> None:
    rest = {b"data: x": b"\n\n", b"data: x\n": b"\n", b"\xef\xbb": b"\xbfdata: 1\n\n"}
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat=SOON))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            await upstream.release(half)
            while (piece := await client.read_chunk()) == COMMENT:
                pass
            assert piece == half
            await asyncio.sleep(A_WHILE_S)
            assert client.unread == b""
            await upstream.release(rest.get(half, b"\n"))
            assert await client.read_chunk() == rest.get(half, b"\n")
            assert await client.read_chunk() == COMMENT
            await upstream.finish()
            await read_stream(client)


async def test_one_byte_at_a_time_is_still_read_for_its_ends(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat="1s"))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            for byte in b"data: x\r\n\r\n":
                await upstream.release(bytes([byte]))
            got = b""
            while not got.endswith(COMMENT):
                got += await client.read_chunk() or b""
            await upstream.finish()
            await read_stream(client)
    assert got == b"data: x\r\n\r\n" + COMMENT


async def test_a_byte_order_mark_behind_a_comment_is_taken_off(
    start_gateway: StartGateway,
) -> None:
    # There it would be a part of a field's name.
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat=SOON))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            assert await client.read_chunk() == COMMENT
            await upstream.release(b"\xef\xbb\xbfdata: x\n\n")
            await upstream.finish()
            body, _ = await read_stream(client)
    assert body.replace(COMMENT, b"") == b"data: x\n\n"


@pytest.mark.parametrize(
    "head",
    [
        STREAM_HEAD.replace(b"text/event-stream", b"application/x-ndjson"),
        STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"),
        STREAM_HEAD.replace(b"Transfer-Encoding: chunked", b"Content-Length: 20"),
    ],
    ids=["ndjson", "compressed", "length"],
)
async def test_what_has_no_room_for_comments_gets_none(
    start_gateway: StartGateway, head: bytes
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat=SOON))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(head)
            await client.read_head()
            await asyncio.sleep(A_WHILE_S)
            assert client.unread == b""
            connection.close()


async def test_a_route_without_heartbeats_has_none(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat=None))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            await asyncio.sleep(A_WHILE_S)
            assert client.unread == b""
            await upstream.finish()


async def test_a_client_that_is_behind_gets_none(start_gateway: StartGateway) -> None:
    flood = Flood()
    async with ScriptedUpstream(beside_control(flood)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat=SOON))
        async with RawClient(gateway.port, receive_buffer_bytes=4096) as client:
            await open_and_stall(client)
            await flood.stalled()
            await asyncio.sleep(A_WHILE_S)
            sent = flood.sent
            client.resume_reading()
            body = b""
            while len(body) < sent * len(PAGE):
                body += await client.read_chunk() or b"the stream ended"
            client.reset()
    assert COMMENT not in body


async def test_heartbeats_do_not_keep_a_dead_backend_alive(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        config = simple_config(
            upstream.url, upstream={"timeouts": {"idle": "300ms"}}, heartbeat=SOON
        )
        gateway = await start_gateway(config)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            await upstream.release(EVENTS[0])
            body, complete = await read_stream(client)
    assert body.startswith(EVENTS[0])
    assert b"upstream_idle_timeout" in body
    assert body.count(b"upstream_idle_timeout") == 1
    assert not complete
