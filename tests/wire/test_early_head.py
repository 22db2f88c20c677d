"""Who asked for a stream and has to wait gets its head early; what comes of it is said there."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from tests.support.client import HOST, End, RawClient, request
from tests.support.exchange import EVENTS, POST, read_stream
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    reply,
    sse_reply,
)

COMMENT = b": heartbeat\n"
SOON = "50ms"
A_WHILE_S = 0.25
"""An early head would have come. There is no event for "the gateway did nothing"."""
MODELS = {"m": {"upstream": "main"}}
CHAT = {"model": "m", "stream": True, "messages": []}


def post(document: object = CHAT, *headers: str) -> bytes:
    lines = ["Content-Type: application/json", *headers]
    return request(
        "POST", "/v1/chat/completions", headers=lines, body=json.dumps(document).encode()
    )


def config(backend: ScriptedUpstream, **route: Any) -> dict[str, Any]:
    return simple_config(backend.url, **{"heartbeat": SOON, **route}) | {"models": MODELS}


async def received(upstream: ScriptedUpstream) -> UpstreamConnection:
    connection = await upstream.accept()
    await connection.read_request()
    return connection


def said(body: bytes) -> bytes:
    return body.replace(COMMENT, b"")


async def logged(gateway: RunningGateway) -> dict[str, Any]:
    return await gateway.wait_for_log(lambda line: line["event"] == "request")


@pytest.mark.parametrize("models", [["m"], []], ids=["by model", "pass-through"])
async def test_a_silent_backend_delays_the_head_no_longer_than_a_heartbeat(
    start_gateway: StartGateway, models: list[str]
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, models=models))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            connection = await received(upstream)
            head = await client.read_head()
            assert await client.read_chunk() == COMMENT
            assert await client.read_chunk() == COMMENT
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await connection.send(chunk(EVENTS[1]) + LAST_CHUNK)
            body, complete = await read_stream(client)
            # The connection goes on.
            await client.send(post({"model": "m"}))
            await connection.read_request()
            await connection.send(reply(b"{}"))
            assert (await client.read_response("POST")).body == b"{}"
        line = await logged(gateway)
    assert head.status == 200
    assert head.value("content-type") == b"text/event-stream"
    assert head.value("cache-control") == b"no-cache"
    assert head.value("x-accel-buffering") == b"no"
    assert head.value("x-request-id") == line["request_id"].encode()
    assert (said(body), complete) == (b"".join(EVENTS), True)
    assert (line["status"], line["end"]) == (200, "complete")
    assert line["bytes_out"] == len(b"".join(EVENTS))
    assert line["ttft_ms"] > 90


async def test_an_event_source_gets_one_too(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            await client.send(request(headers=["Accept: text/event-stream;q=1"]))
            connection = await received(upstream)
            assert (await client.read_head()).status == 200
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
            body, complete = await read_stream(client)
    assert (said(body), complete) == (EVENTS[0], True)


@pytest.mark.parametrize(
    "raw",
    [
        post({"model": "m"}),
        post({"model": "m", "stream": False}),
        post({"model": "m", "metadata": {"stream": True}}),
        post({"model": "m", "messages": ['"stream": true']}),
        request(headers=["Accept: application/json, text/event-stream"]),
        request("HEAD", headers=["Accept: text/event-stream"]),
    ],
    ids=["unary", "false", "nested", "in a text", "other types too", "HEAD"],
)
async def test_who_did_not_ask_for_a_stream_waits_for_its_answer(
    start_gateway: StartGateway, raw: bytes
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            await client.send(raw)
            connection = await received(upstream)
            await asyncio.sleep(A_WHILE_S)
            assert client.unread == b""
            await connection.send(reply(b"", status="404 Not Found"))
            assert (await client.read_response(raw[:4].strip().decode())).status == 404


async def test_no_early_head_where_heartbeats_are_off(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat=None))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await received(upstream)
            await asyncio.sleep(A_WHILE_S)
            assert client.unread == b""
            await connection.send(reply(b"{}"))
            await client.read_response("POST")


async def test_none_before_the_request_was_sent_whole(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            head = ["Accept: text/event-stream", "Content-Length: 10"]
            await client.send(request("POST", headers=head) + b"12345")
            connection = await upstream.accept()
            await asyncio.sleep(A_WHILE_S)
            assert client.unread == b""
            await client.send(b"67890")
            assert (await client.read_head()).status == 200
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
            body, complete = await read_stream(client)
    assert (said(body), complete) == (EVENTS[0], True)


async def test_a_small_body_in_a_second_packet_is_read_for_it(
    start_gateway: StartGateway,
) -> None:
    head, body = post().split(b"\r\n\r\n")
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            await client.send(head + b"\r\n\r\n")
            await asyncio.sleep(0.02)
            await client.send(body)
            connection = await upstream.accept()
            assert (await connection.read_request()).body == body
            assert (await client.read_head()).status == 200
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
            said_so, complete = await read_stream(client)
    assert (said(said_so), complete) == (EVENTS[0], True)


async def test_a_quick_answer_keeps_its_own_head(start_gateway: StartGateway) -> None:
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nX-Own: 1\r\n\r\n")
    async with ScriptedUpstream(sse_reply(EVENTS, head=head)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            response = await client.read_response("POST")
    assert response.value("x-own") == b"1"
    assert response.body == b"".join(EVENTS)


# -- what goes wrong behind it ---------------------------------------------------------------


async def ended(client: RawClient) -> tuple[bytes, bool]:
    assert (await client.read_head()).status == 200
    body, complete = await read_stream(client)
    await client.read_to_end()
    return said(body), complete


def error_of(body: bytes) -> dict[str, Any]:
    """The error of the one event that was said."""
    (data,) = re.findall(rb"^data: (.*)$", body, re.MULTILINE)
    error: dict[str, Any] = json.loads(data)["error"]
    return error


UPSTREAMS_OWN = {"error": {"message": "its own words", "type": "t", "code": "c"}}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(json.dumps(UPSTREAMS_OWN, indent=1).encode(), status="429 Too Many Requests"),
         UPSTREAMS_OWN["error"]),
        (reply(b"<html>", status="502 Bad Gateway"), {"code": "upstream_rejected"}),
        (reply(b'{"detail": "x"}', status="422 Unprocessable"), {"code": "upstream_rejected"}),
        (reply(b'{"choices": []}'), {"code": "upstream_invalid_response"}),
        (STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + LAST_CHUNK,
         {"code": "upstream_invalid_response"}),
        (b"garbage\r\n\r\n", {"code": "upstream_invalid_response"}),
    ],
    ids=["its error", "no JSON", "other JSON", "no stream", "compressed", "no HTTP"],
)  # fmt: skip
async def test_an_answer_that_is_no_stream_becomes_one_error_event(
    start_gateway: StartGateway, answer: bytes, error: dict[str, Any]
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, models=["m"]))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            connection = await received(upstream)
            await client.read_until(COMMENT)
            await connection.send(answer)
            rest = await client.read_to_end()
        line = await logged(gateway)
    assert error_of(rest).items() >= error.items()
    assert not rest.endswith(LAST_CHUNK)
    assert (line["status"], line["end"]) == (200, "complete")
    assert line["error"] in ("upstream_rejected", "upstream_invalid_response")
    assert client.end is End.CLOSED


async def test_a_timeout_becomes_one(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        timeouts = {"timeouts": {"first_byte": "300ms"}}
        gateway = await start_gateway(config(upstream, upstream=timeouts))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            body, complete = await ended(client)
        line = await logged(gateway)
    assert error_of(body)["code"] == line["error"] == "upstream_first_byte_timeout"
    assert error_of(body)["request_id"] == line["request_id"]
    assert not complete


async def test_one_in_anthropics_dialect_is_an_event_of_its_own_kind(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        upstreams = {"dialect": "anthropic", "timeouts": {"first_byte": "300ms"}}
        gateway = await start_gateway(config(upstream, upstream=upstreams))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            body, _ = await ended(client)
    assert b"event: error\n" in body
    assert error_of(body)["type"] == "timeout_error"


async def test_a_stream_that_breaks_off_later_ends_as_any_other(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            connection = await received(upstream)
            await client.read_until(COMMENT)
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            assert EVENTS[0] in await client.read_until(EVENTS[0])
            connection.reset()
            rest = await client.read_to_end()
        line = await logged(gateway)
    assert error_of(rest)["code"] == "upstream_reset"
    assert line["end"] == "upstream_reset"


async def test_others_are_still_asked_for_the_answer(start_gateway: StartGateway) -> None:
    ok = sse_reply(EVENTS)
    async with ScriptedUpstream() as small, ScriptedUpstream(ok) as big:
        names = {"small": small, "big": big}
        gateway = await start_gateway(
            {
                "upstreams": {n: {"endpoints": [{"url": u.url}]} for n, u in names.items()},
                "models": {
                    "small": {"upstream": "small", "fallbacks": ["big"]},
                    "big": {"upstream": "big"},
                },
                "routes": [
                    {"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["small"]}
                    | {"heartbeat": SOON}
                ],
            }
        )
        async with RawClient(gateway.port) as client:
            await client.send(post({"model": "small", "stream": True}))
            connection = await received(small)
            head = await client.read_head()
            await connection.send(reply(b"{}", status="500 Internal Server Error"))
            body, complete = await read_stream(client)
        line = await logged(gateway)
    assert head.status == 200
    assert (said(body), complete) == (b"".join(EVENTS), True)
    assert line["served"] == "big"


# -- in the queue ----------------------------------------------------------------------------


def queued(upstream: ScriptedUpstream, **admission: Any) -> dict[str, Any]:
    options = {"admission": {"concurrency": 1, **admission}}
    return config(upstream, upstream=options, models=["m"])


async def test_who_waits_in_a_queue_is_told_where_and_how_long(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(queued(upstream, max_wait="9s"))
        async with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
            await first.send(post({"model": "m"}))
            connection = await received(upstream)
            await second.send(post())
            assert (await second.read_head()).status == 200
            told = await second.read_chunk()
            await connection.send(reply(b"{}"))
            await first.read_response("POST")
            assert (await connection.read_request()).body
            while (piece := await second.read_chunk()) != COMMENT:
                assert piece is not None
                assert piece.startswith(b": queued")
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
            body, complete = await read_stream(second)
    assert re.fullmatch(rb": queued position=1 deadline=[1-9]s\n", told or b"")
    assert (said(body), complete) == (EVENTS[0], True)


async def test_a_wait_that_was_too_long_is_one_error_event(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(queued(upstream, max_wait="300ms"))
        async with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
            await first.send(post({"model": "m"}))
            connection = await received(upstream)
            await second.send(post())
            body, complete = await ended(second)
            await connection.send(reply(b"{}"))
            await first.read_response("POST")
    assert error_of(body)["code"] == "queue_timeout"
    assert re.search(rb"^retry: [1-9]\d*000$", body, re.MULTILINE)
    assert not complete


@pytest.mark.parametrize("reset", [True, False], ids=["RST", "FIN"])
async def test_s7_who_leaves_the_queue_after_an_early_head_is_never_sent_on(
    start_gateway: StartGateway, reset: bool
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(queued(upstream))
        async with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
            await first.send(post({"model": "m"}))
            connection = await received(upstream)
            await second.send(post())
            await second.read_head()
            second.reset() if reset else second.close()
            line = await logged(gateway)
            await connection.send(reply(b"{}"))
            await first.read_response("POST")
        assert line["end"] == "client_abort"
        assert len(upstream.requests) == 1


async def test_s5_a_half_closed_client_gets_its_stream_after_an_early_head(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            connection = await received(upstream)
            await client.read_head()
            client.half_close()
            assert await client.read_chunk() == COMMENT
            assert await client.read_chunk() == COMMENT
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
            body, complete = await read_stream(client)
            assert await client.read_to_end() == b""
    assert (said(body), complete) == (EVENTS[0], True)


async def test_a_refusal_for_the_callers_sake_is_told_with_a_status(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    document = config(upstream, models=["m"], limits=["once"], heartbeat="1ms")
    limits = {"once": {"key": "ip", "requests": "1/day"}}
    gateway = await start_gateway(document | {"limits": limits})
    statuses = []
    for body in ({"model": "m"}, CHAT):
        async with RawClient(gateway.port) as client:
            await client.send(post(body))
            statuses.append((await client.read_response("POST")).status)
    assert statuses == [200, 429]


async def test_an_operator_ends_it_with_one_error_event(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            connection = await received(upstream)
            head = await client.read_head()
            request_id = (head.value("x-request-id") or b"").decode()
            assert gateway.server.listener.cancel(request_id)
            body, complete = await read_stream(client)
            await client.read_to_end()
            await connection.wait_client_gone()
            connection.close()
        line = await logged(gateway)
    assert error_of(body)["code"] == line["error"] == "request_cancelled"
    assert (line["status"], line["end"], complete) == (200, "cancelled", False)


async def test_the_end_of_the_gateway_is_told_with_advice_to_come_back(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        document = config(upstream)
        document["server"] = {"drain": "100ms"}
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            await client.send(post())
            connection = await received(upstream)
            await client.read_head()
            stopping = asyncio.create_task(gateway.server.listener.drain(0.05))
            body, complete = await read_stream(client)
            await stopping
            connection.close()
    assert b"retry: 1000\ndata: " in body
    assert error_of(body)["code"] == "gateway_draining"
    assert not complete


async def test_a_plugin_cannot_change_what_was_sent_and_breaks_nothing(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        middleware = [{"use": "tests.support.stamping_plugin.stamp"}]
        gateway = await start_gateway(config(upstream, middleware=middleware))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            connection = await received(upstream)
            head = await client.read_head()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
            body, complete = await read_stream(client)
    assert head.value("x-stamp") is None
    assert (said(body), complete) == (EVENTS[0], True)


async def test_the_backend_of_a_stream_is_asked_for_no_compression(
    start_gateway: StartGateway,
) -> None:
    # Nothing could be said in what it would send then. Of others the tokens are not read here.
    unread = {"log": {"format": "json"}, "metrics": {"tokens": False}}
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url), telemetry=unread)
        for document in (CHAT, {"model": "m"}):
            async with RawClient(gateway.port) as client:
                await client.send(post(document, "Accept-Encoding: gzip"))
                await client.read_response("POST")
    assert [r.value("accept-encoding") for r in upstream.requests] == [None, b"gzip"]


async def test_a_request_that_waits_on_a_kept_connection_comes_after_the_stream(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as client:
            await client.send(post() + request(target="/v1/next", host=HOST))
            connection = await received(upstream)
            assert (await client.read_head()).status == 200
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
            body, complete = await read_stream(client)
            assert (await connection.read_request()).target == "/v1/next"
            await connection.send(reply(b"next"))
            assert (await client.read_response()).body == b"next"
    assert (said(body), complete) == (EVENTS[0], True)
