"""Streams pass byte for byte, as they come, and no faster than they are taken (E1-E7)."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from itertools import pairwise

import pytest

from tests.support.client import Framing, RawClient, Response, request
from tests.support.exchange import EVENTS, POST, ask
from tests.support.figures import Report, percentile
from tests.support.gateway import StartGateway, StartGatewayProcess, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    raw_reply,
    reply,
    reply_then_close,
    sse_reply,
    stepped_stream,
)
from tests.support.waiting import asked_until

KIB = 1024
MIB = 1024 * KIB
TEXT = "Größe, 中文, 👩‍🚀, \u2028, e\u0301"


def stream_head(content_type: bytes, *fields: bytes) -> bytes:
    """The head of a chunked response of this type."""
    head = STREAM_HEAD.replace(b"text/event-stream", content_type)
    return head.replace(b"\r\n\r\n", b"\r\n" + b"".join(f + b"\r\n" for f in fields) + b"\r\n")


def cut_at_random(data: bytes, seed: int) -> list[bytes]:
    """The data in pieces of 1 to 40 bytes, the same for the same seed."""
    cuts = [0]
    draw = random.Random(seed)
    while cuts[-1] < len(data):
        cuts.append(min(len(data), cuts[-1] + draw.randint(1, 40)))
    return [data[start:end] for start, end in pairwise(cuts)]


async def relayed(start_gateway: StartGateway, pieces: list[bytes]) -> Response:
    """What a caller gets of a stream whose upstream writes one of these pieces at a time."""

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD)
        for piece in pieces:
            await connection.send(chunk(piece))
            await asyncio.sleep(0)
        await connection.send(LAST_CHUNK)

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        return await ask(gateway.port)


# -- E1 to E6: whatever the bytes are ---------------------------------------------------------

LINE_ENDINGS = {
    "lf": b"event: a\ndata: 1\ndata: 2\n\ndata: 3\n\n",
    "crlf": b"event: a\r\ndata: 1\r\ndata: 2\r\n\r\ndata: 3\r\n\r\n",
    "cr": b"event: a\rdata: 1\rdata: 2\r\rdata: 3\r\r",
    "mixed": b"event: a\rdata: 1\ndata: 2\r\n\ndata: 3\r\n\r\rdata: 4\n\r\n",
    "blank-lines": b"\n\n\n\r\n\r\n\r\rdata: 1\n\n\n\n",
}


@pytest.mark.parametrize("body", LINE_ENDINGS.values(), ids=LINE_ENDINGS)
async def test_e1_line_endings_pass_as_they_are(start_gateway: StartGateway, body: bytes) -> None:
    for seed in range(5):
        response = await relayed(start_gateway, cut_at_random(20 * body, seed))
        assert (response.body, response.clean_end) == (20 * body, True)


@pytest.mark.parametrize(
    "body",
    [b"\xef\xbb\xbfdata: 1\n\n", b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n"],
    ids=["one", "three"],
)
async def test_e2_byte_order_marks_pass(start_gateway: StartGateway, body: bytes) -> None:
    response = await relayed(start_gateway, [body])
    assert (response.body, response.clean_end) == (body, True)


async def test_e3_utf8_split_at_every_byte_passes(
    start_gateway: StartGateway, report: Report
) -> None:
    body = f"data: {TEXT}\n\n".encode()
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            for n in range(len(body)):
                await upstream.release(body[n : n + 1])
                assert await client.read_chunk() == body[n : n + 1]
            await upstream.finish()
            assert await client.read_chunk() is None
    report("E3", "bytes passed one by one", len(body))


async def test_e3_bytes_that_are_no_utf8_pass(start_gateway: StartGateway) -> None:
    body = b"data: " + bytes(set(range(256)) - {10, 13}) + b"\n\n"
    response = await relayed(start_gateway, [body])
    assert (response.body, response.clean_end) == (body, True)


async def test_e4_an_event_of_10_mib_passes(start_gateway: StartGateway, report: Report) -> None:
    body = b"data: " + random.Random(4).randbytes(5 * MIB).hex().encode() + b"\n\n"
    started = time.perf_counter()
    pieces = [body[start : start + 64 * KIB] for start in range(0, len(body), 64 * KIB)]
    response = await relayed(start_gateway, pieces)
    report("E4", "10 MiB event, MiB/s", len(body) / MIB / (time.perf_counter() - started))
    assert response.clean_end
    assert len(response.body) == len(body)
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(body).digest()


async def test_e5_comments_pass_when_they_come(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            for piece in (b": hello\n\n", b":\n", EVENTS[0], b": a\n: b\n\n", b"id\n", EVENTS[1]):
                await upstream.release(piece)
                assert await client.read_chunk() == piece
            await upstream.finish()
            assert await client.read_chunk() is None


@pytest.mark.parametrize("body", [b"data: 1\n\ndata: 2", b"data: 1\n\ndata: 2\n", b"data", b""])
async def test_e6_a_stream_without_its_last_blank_line_passes_as_it_is(
    start_gateway: StartGateway, body: bytes
) -> None:
    response = await relayed(start_gateway, [body] if body else [])
    assert (response.body, response.clean_end) == (body, True)


# -- E7: as it comes --------------------------------------------------------------------------


async def one_way_delays(port: int, upstream: ScriptedUpstream, count: int) -> list[float]:
    """Seconds from the upstream's write to the client's read of each of `count` events."""
    delays = []
    async with RawClient(port) as client:
        await client.send(POST)
        await client.read_head()
        for n in range(count):
            event = b'data: {"n":%d}\n\n' % n
            written = await upstream.release(event)
            assert await client.read_chunk() == event
            delays.append(time.perf_counter() - written)
        await upstream.finish()
        assert await client.read_chunk() is None
    return delays


async def test_e7_an_event_is_relayed_within_a_millisecond(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        await one_way_delays(gateway.port, upstream, 50)  # warms caches and pool
        # Again if the machine was busy with others. Who delays each event never gets there.
        through = await asked_until(
            lambda: one_way_delays(gateway.port, upstream, 500),
            lambda delays_s: percentile(delays_s, 50) <= 0.001,
        )
        direct = await one_way_delays(upstream.port, upstream, 500)
    added = percentile(through, 50) - percentile(direct, 50)
    report("E7", "upstream write to client read p50, µs", percentile(through, 50) * 1e6)
    report("E7", "upstream write to client read p99, µs", percentile(through, 99) * 1e6)
    report("E7", "of it added by the gateway, p50, µs", added * 1e6)


@pytest.mark.parametrize(
    "content_type",
    [
        b"text/event-stream; charset=utf-8",
        b"application/x-ndjson",
        b"audio/mpeg",
        b"application/octet-stream",
        b"application/json",
    ],
)
async def test_a_stream_of_any_type_is_passed_on_piece_by_piece(
    start_gateway: StartGateway, content_type: bytes
) -> None:
    async with ScriptedUpstream(stepped_stream(stream_head(content_type))) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            head = await client.read_head()
            assert head.value("content-type") == content_type
            assert head.value("transfer-encoding") == b"chunked"
            assert head.value("x-accel-buffering") == b"no"
            for piece in (b"\x00\xff", b'{"a":1}\n', bytes(range(256)), b"\r\n", b"0\r\n\r\n"):
                await upstream.release(piece)
                assert await client.read_chunk() == piece
            await upstream.finish()
            assert await client.read_chunk() is None


async def test_the_head_of_a_stream_does_not_wait_for_its_body(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            assert (await client.read_head()).status == 200
            await upstream.finish()
            assert await client.read_chunk() is None


async def test_a_body_of_known_length_is_passed_on_piece_by_piece(
    start_gateway: StartGateway,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: 12\r\n\r\n"
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(head)
            answer = await client.read_head()
            assert answer.value("content-length") == b"12"
            assert answer.value("transfer-encoding") is None
            for piece in (b"RIFF", b"\0\0\0\0", b"WAVE"):
                await connection.send(piece)
                assert await client.read_exactly(4) == piece
            await client.send(POST)  # the connection is good for the next request
            await connection.read_request()
            await connection.send(reply(b"next"))
            assert (await client.read_response()).body == b"next"


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
async def test_a_body_that_ends_with_its_connection_is_framed_anew(
    start_gateway: StartGateway, version: bytes
) -> None:
    data = version + b" 200 OK\r\nContent-Type: text/plain\r\n\r\n" + 1000 * b"all of it "
    async with ScriptedUpstream(reply_then_close(data)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            for _ in range(3):
                await client.send(POST)
                response = await client.read_response()
                assert (response.framing, response.clean_end) == (Framing.CHUNKED, True)
                assert response.body == 1000 * b"all of it "


async def test_streams_follow_one_another_on_one_connection(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            for _ in range(10):
                await client.send(POST)
                response = await client.read_response()
                assert (response.body, response.clean_end) == (b"".join(EVENTS), True)
        assert len(upstream.connections) == 1


async def test_streams_side_by_side_do_not_mix(start_gateway: StartGateway) -> None:
    async def script(connection: UpstreamConnection) -> None:
        name = (await connection.read_request()).target.encode()
        await connection.send(STREAM_HEAD)
        for n in range(20):
            await connection.send(chunk(b"data: %b %d\n\n" % (name, n)))
            await asyncio.sleep(0)
        await connection.send(LAST_CHUNK)

    targets = [f"/v1/{n}" for n in range(50)]
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        answers = await asyncio.gather(
            *(ask(gateway.port, request(target=target), "GET") for target in targets)
        )
    for target, answer in zip(targets, answers, strict=True):
        assert answer.clean_end
        assert answer.body == b"".join(b"data: %b %d\n\n" % (target.encode(), n) for n in range(20))


# -- what nginx and caches are told -----------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "cache_control"),
    [
        ((), b"no-cache"),
        ((b"Cache-Control: no-store, private",), b"no-store, private"),
        ((b"cache-control: no-transform", b"x-accel-buffering: yes"), b"no-transform"),
    ],
    ids=["nothing said", "caching said", "buffering asked for"],
)
async def test_an_event_stream_asks_for_no_buffering_and_no_caching(
    start_gateway: StartGateway, fields: tuple[bytes, ...], cache_control: bytes
) -> None:
    data = stream_head(b"text/event-stream", *fields) + chunk(EVENTS[0]) + LAST_CHUNK
    async with ScriptedUpstream(raw_reply(data)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
    assert response.value("x-accel-buffering") == b"no"
    assert response.value("cache-control") == cache_control


async def test_a_response_that_is_no_stream_is_left_to_nginx(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
    assert response.values("x-accel-buffering") == response.values("cache-control") == []


async def test_an_error_status_with_its_body_passes(start_gateway: StartGateway) -> None:
    script = json_reply({"error": "busy"}, status="429 Slow Down", headers=["Retry-After: 7"])
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
    assert (response.status, response.head.reason) == (429, b"Slow Down")
    assert response.value("retry-after") == b"7"
    assert response.body == b'{"error": "busy"}'
