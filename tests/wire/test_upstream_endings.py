"""How responses end that break off after their head: always so that it shows (U3, U5, U8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from tests.support.client import End, Framing, RawClient, request
from tests.support.exchange import EVENTS, POST, ask, read_stream
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    raw_reply,
    reply_then_close,
)
from tests.support.waiting import SLACK_S

JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Cut = Callable[[UpstreamConnection], None]
CUTS = pytest.mark.parametrize(
    "cut", [UpstreamConnection.reset, UpstreamConnection.close], ids=["rst", "fin"]
)


async def broken_stream(
    gateway: RunningGateway,
    upstream: ScriptedUpstream,
    cut: Cut,
    *,
    head: bytes = STREAM_HEAD,
    pieces: tuple[bytes, ...] = EVENTS,
) -> tuple[bytes, bytes]:
    """Request id, and what a caller gets after these pieces when the upstream is cut."""
    async with RawClient(gateway.port) as client:
        await client.send(POST)
        connection = await upstream.accept()
        await connection.read_request()
        await connection.send(head)
        request_id = (await client.read_head()).value("x-request-id")
        assert request_id is not None
        for piece in pieces:
            await connection.send(chunk(piece))
            assert await client.read_chunk() == piece
        cut(connection)
        rest, clean = await read_stream(client)
        assert not clean, "a stream that broke off ended like a complete one"
        assert client.end is End.CLOSED
        return request_id, rest


# -- U3: the stream breaks off ----------------------------------------------------------------


@CUTS
async def test_u3_upstream_gone_mid_sse_gives_one_error_event_and_no_terminating_chunk(
    start_gateway: StartGateway, cut: Cut
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        request_id, rest = await broken_stream(gateway, upstream, cut)
    event, after = rest.split(b"\n\n")
    assert after == b""
    assert event.startswith(b"data: ")
    error = json.loads(event.removeprefix(b"data: "))["error"]
    assert error["code"] == "upstream_reset"
    assert error["request_id"] == request_id.decode()


async def test_u3_a_half_sent_event_is_ended_before_the_error_event(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        _, rest = await broken_stream(
            gateway, upstream, UpstreamConnection.reset, pieces=(b'data: {"n":1}\n\ndata: {"n',)
        )
    assert rest.startswith(b"\n\ndata: {")
    assert rest.count(b"data: ") == 1


@CUTS
async def test_u3_upstream_gone_mid_stream_is_told_in_anthropics_shape(
    start_gateway: StartGateway, cut: Cut
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"dialect": "anthropic"})
        )
        _, rest = await broken_stream(
            gateway, upstream, cut, pieces=(b"event: ping\ndata: {}\n\n",)
        )
    event, after = rest.split(b"\n\n")
    assert after == b""
    name, data = event.split(b"\n")
    assert name == b"event: error"
    document = json.loads(data.removeprefix(b"data: "))
    assert document["type"] == "error"
    assert document["error"]["type"] == "api_error"
    assert document["error"]["message"]


@pytest.mark.parametrize(
    ("piece", "separator"),
    [(b'{"done":false}\n', b""), (b'{"done":false}\n{"do', b"\n")],
    ids=["after a line", "within a line"],
)
@CUTS
async def test_u3_upstream_gone_mid_ndjson_is_told_in_ollamas_shape(
    start_gateway: StartGateway, cut: Cut, piece: bytes, separator: bytes
) -> None:
    # Ollama's clients parse every line, a blank one too, so only half a line is ended.
    head = STREAM_HEAD.replace(b"text/event-stream", b"application/x-ndjson")
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, upstream={"dialect": "ollama"}))
        _, rest = await broken_stream(gateway, upstream, cut, head=head, pieces=(piece,))
    assert rest.startswith(separator + b"{")
    assert rest.endswith(b"}\n")
    assert isinstance(json.loads(rest)["error"], str)


async def test_u3_a_stream_cut_at_any_byte_never_ends_cleanly(
    start_gateway: StartGateway, report: Report
) -> None:
    # Each byte of the response, and whether it is one of the body's.
    wire = [(byte, False) for byte in STREAM_HEAD]
    for event in EVENTS:
        wire += [(byte, False) for byte in b"%x\r\n" % len(event)]
        wire += [(byte, True) for byte in event]
        wire += [(byte, False) for byte in b"\r\n"]
    wire += [(byte, False) for byte in LAST_CHUNK]

    async def script(connection: UpstreamConnection) -> None:
        sent = int((await connection.read_request()).target.rpartition("/")[2])
        await connection.send(bytes(byte for byte, _ in wire[:sent]))

    clean_ends = 0
    cuts = range(len(STREAM_HEAD), len(wire))
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for cut in cuts:
            response = await ask(gateway.port, request(target=f"/v1/{cut}"), "GET")
            clean_ends += response.clean_end
            passed = bytes(byte for byte, of_body in wire[:cut] if of_body)
            assert response.body.startswith(passed), f"cut after byte {cut}"
            rest = response.body[len(passed) :].lstrip(b"\n")
            assert rest.startswith(b"data: {"), f"cut after byte {cut}"
            assert response.body.count(b"upstream_reset") == 1
            assert b"[DONE]" not in response.body
        whole = await ask(gateway.port, request(target=f"/v1/{len(wire)}"), "GET")
        assert whole.clean_end
        assert whole.body == b"".join(EVENTS)
    report("U3", f"clean ends in {len(cuts)} cut streams", clean_ends)
    assert clean_ends == 0


async def test_u3_a_stream_without_a_length_is_complete_at_fin_and_broken_at_rst(
    start_gateway: StartGateway,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for cut, clean_end in ((UpstreamConnection.close, True), (UpstreamConnection.reset, False)):
            async with RawClient(gateway.port) as client:
                await client.send(POST)
                connection = await upstream.accept()
                await connection.read_request()
                await connection.send(head + EVENTS[0])
                await client.read_head()
                assert await client.read_chunk() == EVENTS[0]
                cut(connection)
                rest, clean = await read_stream(client)
            assert clean is clean_end
            assert rest.count(b"upstream_reset") == (not clean_end)


@pytest.mark.parametrize("content_type", [b"application/json", b"audio/mpeg", b"text/plain"])
@CUTS
async def test_u3_a_chunked_body_that_can_carry_no_error_event_is_cut_short(
    start_gateway: StartGateway, cut: Cut, content_type: bytes
) -> None:
    head = STREAM_HEAD.replace(b"text/event-stream", content_type)
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        _, rest = await broken_stream(gateway, upstream, cut, head=head, pieces=(b"[1, 2",))
    assert rest == b""


async def test_u3_broken_chunk_framing_ends_the_stream_with_an_error_event(
    start_gateway: StartGateway,
) -> None:
    data = STREAM_HEAD + chunk(EVENTS[0]) + b"zz\r\n" + EVENTS[1] + b"\r\n" + LAST_CHUNK
    async with ScriptedUpstream(raw_reply(data)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
    assert not response.clean_end
    assert response.body.startswith(EVENTS[0] + b"data: {")
    assert response.body.count(b"upstream_invalid_response") == 1


# -- U5: it goes silent ----


async def test_u5_silence_mid_sse_ends_it_with_one_idle_timeout_event(
    start_gateway: StartGateway, report: Report
) -> None:
    loop = asyncio.get_running_loop()
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"timeouts": {"idle": "400ms"}})
        )
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            started = loop.time()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_head()
            assert await client.read_chunk() == EVENTS[0]
            rest, clean = await read_stream(client)
            took = loop.time() - started
        await connection.wait_client_gone()
    assert not clean
    assert rest.startswith(b"data: {")
    assert rest.count(b"data: ") == rest.count(b"upstream_idle_timeout") == 1
    report("U5", "idle timeout off its 400 ms by, ms", abs(took - 0.4) * 1e3)
    assert 0.39 <= took < 0.4 + SLACK_S


async def test_u5_silence_within_a_body_of_known_length_cuts_it_short(
    start_gateway: StartGateway,
) -> None:
    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(JSON_HEAD + b"Content-Length: 10\r\n\r\n12345")
        await connection.wait_client_gone()

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"timeouts": {"idle": "200ms"}})
        )
        response = await ask(gateway.port)
    assert (response.body, response.clean_end) == (b"12345", False)


async def test_u5_heartbeats_keep_a_slow_stream_alive(start_gateway: StartGateway) -> None:
    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD)
        for _ in range(4):
            await asyncio.sleep(0.35)
            await connection.send(chunk(b": ping\n\n"))
        await connection.send(chunk(EVENTS[0]) + LAST_CHUNK)

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"timeouts": {"idle": "1s"}})
        )
        response = await ask(gateway.port)
    assert response.clean_end
    assert response.body == 4 * b": ping\n\n" + EVENTS[0]


# -- U8: shorter than announced ---------------------------------------------------------------


@CUTS
async def test_u8_a_body_shorter_than_its_length_arrives_visibly_truncated(
    start_gateway: StartGateway, report: Report, cut: Cut
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(JSON_HEAD + b'Content-Length: 1000\r\n\r\n{"half":')
            head = await client.read_head()
            assert await client.read_exactly(8) == b'{"half":'
            cut(connection)
            rest = await client.read_to_end()
    assert head.value("content-length") == b"1000"
    assert rest == b""
    report("U8", "bytes added to a body cut short", len(rest))


async def test_u8_an_sse_body_of_known_length_is_cut_short_without_an_event(
    start_gateway: StartGateway,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 500\r\n\r\n"
    async with ScriptedUpstream(reply_then_close(head + EVENTS[0])) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
    # An event of ours would pass for a part of the 500 bytes.
    assert (response.body, response.clean_end) == (EVENTS[0], False)
    assert response.framing is Framing.LENGTH
