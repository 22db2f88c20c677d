"""Compressed responses: for whom, of what, and that streams flow as before."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from tests.support.client import RawClient, Response, request
from tests.support.codings import decoder
from tests.support.exchange import EVENTS
from tests.support.figures import Report
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    json_reply,
    raw_reply,
    reply,
    sse_reply,
    stepped_stream,
)
from tests.support.waiting import settled

CODINGS = ["zstd", "br", "gzip"]
LARGE = {"text": ["of this there is a lot"] * 100}
LARGE_BODY = json.dumps(LARGE).encode()
TOKENS = [
    b'data: {"id":"chatcmpl-9x8f7a6b5c4d","object":"chat.completion.chunk","created":1764000000,'
    b'"model":"llama","choices":[{"index":0,"delta":{"content":" word%d"},"finish_reason":null}]}'
    b"\n\n" % (n * 7919 % 1000)
    for n in range(199)
]
TOKENS.append(TOKENS[0].replace(b"null", b'"stop"'))

each_coding = pytest.mark.parametrize("coding", CODINGS)


def config(upstream: ScriptedUpstream, **route: Any) -> dict[str, Any]:
    return simple_config(upstream.url, **{"compress": CODINGS, **route})


def get(*headers: str, coding: str = "gzip", method: str = "GET") -> bytes:
    return request(method, headers=[f"Accept-Encoding: {coding}", *headers])


async def asked(port: int, raw: bytes, method: str = "GET") -> Response:
    async with RawClient(port) as client:
        await client.send(raw)
        return await client.read_response(method)


def read(response: Response) -> bytes:
    coding = response.value("content-encoding")
    return decoder(coding.decode())(response.body) if coding else response.body


@each_coding
async def test_each_event_can_be_read_as_it_comes(
    start_gateway: StartGateway, coding: str, report: Report
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            await client.send(get(coding=coding))
            head = await client.read_head()
            decode = decoder(coding)
            size = 0
            for event in TOKENS:
                await upstream.release(event)
                piece = await client.read_chunk()
                assert piece is not None
                size += len(piece)
                assert decode(piece) == event
            await upstream.finish()
            last = await client.read_chunk()
            assert last is not None
            assert decode(last) == b""
            assert await client.read_chunk() is None
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert head.value("content-encoding") == coding.encode()
    assert b"Accept-Encoding" in (head.value("vary") or b"")
    assert head.value("x-accel-buffering") == b"no"
    plain = sum(map(len, TOKENS))
    assert line["bytes_out"] == size
    assert line["bytes_saved"] == plain - size
    report("compress", f"{coding}: bytes saved of a stream of tokens, %", 100 * (1 - size / plain))
    assert size < plain / 4


@each_coding
async def test_heartbeats_and_errors_are_said_in_the_coding(
    start_gateway: StartGateway, coding: str
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, heartbeat="50ms", retry="2s"))
        async with RawClient(gateway.port) as client:
            await client.send(get("Accept: text/event-stream", coding=coding))
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_head()
            decode = decoder(coding)
            said = b""
            while b": heartbeat\n" not in said:
                said += decode(await client.read_chunk() or b"")
            connection.reset()
            while b"upstream_reset" not in said:
                said += decode(await client.read_chunk() or b"")
            assert await client.read_to_end() == b""
    assert said.startswith(b"retry: 2000\n" + EVENTS[0] + b": heartbeat\n")


@each_coding
async def test_a_whole_body_is_compressed(start_gateway: StartGateway, coding: str) -> None:
    headers = ['ETag: "1"', "Accept-Ranges: bytes", "X-Own: 1"]
    script = json_reply(LARGE, headers=headers)
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            for _ in range(2):  # and the connection goes on
                await client.send(get(coding=coding))
                response = await client.read_response()
                assert response.clean_end
                assert read(response) == LARGE_BODY
                assert len(response.body) < len(LARGE_BODY) / 5
    assert response.value("etag") == b'W/"1"'
    assert response.value("accept-ranges") is None
    assert response.value("x-own") == b"1"


async def test_a_body_that_comes_in_pieces_is_too(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            await client.send(get())
            connection = await upstream.accept()
            await connection.read_request()
            whole = reply(LARGE_BODY)
            await connection.send(whole[:-500])
            head = await client.read_head()
            decode = decoder("gzip")
            body = decode(await client.read_chunk() or b"")
            await connection.send(whole[-500:])
            while (piece := await client.read_chunk()) is not None:
                body += decode(piece)
            connection.close()
    assert head.value("content-length") is None
    assert body == LARGE_BODY


async def test_what_the_gateway_says_itself_is_too(start_gateway: StartGateway) -> None:
    names = [f"model-{n:04}" for n in range(60)]
    async with ScriptedUpstream(json_reply({})) as upstream:
        models = {name: {"upstream": "main"} for name in names}
        gateway = await start_gateway(config(upstream, models=names) | {"models": models})
        takes = ["Accept-Encoding: br"]
        listed = await asked(gateway.port, request(target="/v1/models", headers=takes))
        unknown = request("POST", headers=takes, body=b'{"model": "unknown"}')
        error = await asked(gateway.port, unknown, "POST")
    assert listed.value("content-encoding") == b"br"
    assert len(json.loads(read(listed))["data"]) == 60
    assert error.status == 404
    assert error.value("content-encoding") is None  # it is small
    assert error.value("vary") is None


async def test_an_upstreams_error_is_too(start_gateway: StartGateway) -> None:
    script = json_reply(LARGE, status="500 Internal Server Error")
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream))
        response = await asked(gateway.port, get())
    assert (response.status, response.value("content-encoding")) == (500, b"gzip")
    assert read(response) == LARGE_BODY


PLAIN = {
    "no coding taken": (get(coding="identity"), reply(LARGE_BODY)),
    "coding refused": (get(coding="gzip;q=0"), reply(LARGE_BODY)),
    "request no-transform": (get("Cache-Control: no-transform"), reply(LARGE_BODY)),
    "response no-transform": (
        get(),
        reply(LARGE_BODY, headers=["Cache-Control: private, No-Transform"]),
    ),
    "stream no-transform": (
        get(),
        STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nCache-Control: no-transform\r\n\r\n")
        + chunk(LARGE_BODY)
        + LAST_CHUNK,
    ),
    "compressed before": (get(), reply(LARGE_BODY, headers=["Content-Encoding: br"])),
    "small": (get(), reply(LARGE_BODY[:1000])),
    "large": (get(), reply(b"x" * 1024 * 1024 + b"x")),
    "audio": (get(), reply(LARGE_BODY, content_type="audio/mpeg")),
    "part": (get(), reply(LARGE_BODY, status="206 Partial Content")),
}


@pytest.mark.parametrize("case", PLAIN)
async def test_what_may_not_or_need_not_be_compressed_is_not(
    start_gateway: StartGateway, case: str
) -> None:
    raw, answer = PLAIN[case]
    async with ScriptedUpstream(raw_reply(answer)) as upstream:
        gateway = await start_gateway(config(upstream))
        response = await asked(gateway.port, raw)
    own = b"br" if case == "compressed before" else None
    assert response.value("content-encoding") == own
    head, _, body = answer.partition(b"\r\n\r\n")
    assert response.body == (LARGE_BODY if b"chunked" in head else body)
    varies = case in ("no coding taken", "coding refused", "request no-transform")
    assert (response.value("vary") == b"Accept-Encoding") == varies


async def test_a_head_request_is_answered_as_before(start_gateway: StartGateway) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
    async with ScriptedUpstream(raw_reply(answer)) as upstream:
        gateway = await start_gateway(config(upstream))
        response = await asked(gateway.port, get(method="HEAD"), "HEAD")
    assert response.value("content-length") == b"5000"


async def test_a_route_that_does_not_say_so_compresses_nothing(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(TOKENS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await asked(gateway.port, get())
    assert response.value("content-encoding") is None
    assert response.value("vary") is None
    assert response.body == b"".join(TOKENS)


async def test_an_early_head_is_plain_and_so_is_what_follows(start_gateway: StartGateway) -> None:
    # Nobody knows yet whether the backend will allow it.
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, heartbeat="50ms"))
        async with RawClient(gateway.port) as client:
            await client.send(get("Accept: text/event-stream"))
            connection = await upstream.accept()
            await connection.read_request()
            head = await client.read_head()
            await connection.send(STREAM_HEAD + chunk(b"".join(TOKENS)) + LAST_CHUNK)
            body = b""
            while (piece := await client.read_chunk()) is not None:
                body += piece
            connection.close()
    assert head.value("content-encoding") is None
    assert body.replace(b": heartbeat\n", b"") == b"".join(TOKENS)


async def test_cors_and_compression_both_say_what_the_response_depends_on(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply(LARGE)) as upstream:
        cors = {"origins": ["https://app.example.com"]}
        gateway = await start_gateway(config(upstream, cors=cors))
        response = await asked(gateway.port, get("Origin: https://app.example.com"))
    assert response.value("vary") == b"Origin, Accept-Encoding"
    assert response.value("access-control-allow-origin") == b"https://app.example.com"
    assert read(response) == LARGE_BODY


async def test_a_slow_reader_of_a_compressed_stream_slows_its_backend(
    start_gateway: StartGateway,
) -> None:
    noise = random.Random(1)
    sent = 0
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port, receive_buffer_bytes=4096) as client:
            await client.send(get())
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD)
            await client.read_head()
            client.pause_reading()

            async def flood() -> None:
                nonlocal sent
                while sent < 64 * 1024 * 1024:
                    await connection.send(
                        chunk(b"data: %b\n\n" % noise.randbytes(8192).hex().encode())
                    )
                    sent += 1

            flooding = asyncio.create_task(flood())
            await settled(lambda: sent, quiet_s=0.2)
            client.resume_reading()
            decode = decoder("gzip")
            got = b""
            while len(got) < 1024 * 1024:
                got += decode(await client.read_chunk() or b"")
            flooding.cancel()
            client.reset()
    assert got.startswith(b"data: ")
