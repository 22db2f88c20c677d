"""However a stream ends, it ends once, and what was kept for it is let go."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import zlib
from typing import Any

import pytest

from gateway.proxy.early_head import EarlyHead
from tests.support.client import RawClient
from tests.support.exchange import EVENTS, POST, read_stream
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    reply,
    sse_reply,
)
from tests.support.waiting import eventually
from tests.wire.test_failover import ASKED, FIRST, SECOND, config, delta, stream, text_of

SOON = "50ms"
ERROR = re.compile(rb'"error": ?\{')


async def received(upstream: ScriptedUpstream) -> UpstreamConnection:
    connection = await upstream.accept()
    await connection.read_request()
    return connection


async def logged(gateway: RunningGateway) -> dict[str, Any]:
    return await gateway.wait_for_log(lambda line: line["event"] == "request")


async def test_an_end_that_comes_with_the_streams_own_says_nothing_more(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await received(upstream)
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_until(EVENTS[0])
            (exchange,) = gateway.server.listener.exchanges
            (served,) = gateway.server.listener.connections
            writer = served.writer
            assert writer is not None
            relay: Any = writer.source  # type: ignore[attr-defined]
            finish = relay.finish

            def finish_and_cancel(error: Any) -> None:
                finish(error)
                # In the same turn of the loop, as a drain or an operator may.
                assert not writer.probe()
                assert not gateway.server.listener.cancel(exchange.request_id)

            relay.finish = finish_and_cancel
            await connection.send(LAST_CHUNK)
            rest = await client.read_until(LAST_CHUNK)
        line = await logged(gateway)
    assert b"error" not in rest
    assert line["end"] == "complete"


async def test_a_request_that_is_being_ended_opens_no_stream(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat="60s"))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await received(upstream)
            (exchange,) = gateway.server.listener.exchanges
            early = exchange.early
            assert isinstance(early, EarlyHead)
            assert gateway.server.listener.cancel(exchange.request_id)
            for _ in range(8):  # before the cancellation has arrived
                early.check()
            response = await client.read_response("POST")
            await connection.wait_client_gone()
            connection.close()
    assert response.status == 503
    assert response.json()["error"]["code"] == "request_cancelled"


async def test_nothing_plain_is_said_in_a_stream_its_backend_compressed(
    start_gateway: StartGateway,
) -> None:
    deflate = zlib.compressobj(wbits=31)
    zipped = deflate.compress(EVENTS[0]) + deflate.flush(zlib.Z_SYNC_FLUSH)
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await received(upstream)
            await connection.send(head + chunk(zipped))
            await client.read_head()
            assert await client.read_chunk() == zipped
            connection.reset()
            rest = await client.read_to_end()
        line = await logged(gateway)
    assert rest == b""
    assert line["end"] == "upstream_reset"


async def test_what_was_half_said_is_not_joined_to_what_goes_on(
    start_gateway: StartGateway,
) -> None:
    # Where tokens are limited, events are also held for the usage that only the gateway asked for.
    begun = b"".join(
        [delta("two", role="assistant", content=""), delta("two", content="a time."), b""]
    )
    second = stream(begun, delta("two", finish_reason="stop"), b"data: [DONE]\n\n")
    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(second) as other:
        document = config(first, other)
        document["routes"][0]["limits"] = ["tokens"]
        document["limits"] = {"tokens": {"key": "ip", "tokens": "100000/minute"}}
        gateway = await start_gateway(document)
        data = json.dumps(ASKED).encode()
        async with RawClient(gateway.port) as client:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
            await client.send(head + data)
            await client.read_head()
            body, complete = await read_stream(client)
    assert (text_of(body), complete) == ("Once upon a time.", True)


async def test_a_stream_that_is_cancelled_is_not_gone_on_with(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(FIRST) as first, ScriptedUpstream() as second:
        document = config(first, second)
        document["routes"][0]["resume"] = {"on_disconnect": "detach"}
        gateway = await start_gateway(document)
        data = json.dumps(ASKED).encode()
        async with RawClient(gateway.port) as client:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
            await client.send(head + data)
            await client.read_head()
            await client.read_until(b"upon")
            connection = await received(second)
            (exchange,) = gateway.server.listener.exchanges
            (served,) = gateway.server.listener.connections
            reader = served.writer
            assert reader is not None
            assert exchange.detached_owner is not None
            reader.pause()  # the client is behind, so that it is not told at once
            exchange.detached_owner.cancel()  # type: ignore[attr-defined]
            await connection.wait_client_gone()
            connection.close()
            reader.resume()
            rest = await client.read_to_end()
        line = await logged(gateway)
    assert len(ERROR.findall(rest)) == 1
    assert not rest.endswith(LAST_CHUNK)
    assert line["error"] == "stream_cancelled"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("page", "internal_error"),
        ("refusal", "http_403"),
        ("shaped", "mine"),
    ],
)
async def test_a_plugins_own_answer_is_not_blamed_on_the_backend(
    start_gateway: StartGateway, answer: str, error: str
) -> None:
    body, complete, line = await answered_by_plugin(start_gateway, answer)
    (said,) = re.findall(rb"^data: (.*)$", body, re.MULTILINE)
    assert json.loads(said)["error"]["code"] == error
    assert not complete
    assert line["error"] in (error, "http_409")


async def test_a_plugins_own_events_go_on_in_the_stream(start_gateway: StartGateway) -> None:
    body, complete, line = await answered_by_plugin(start_gateway, "events")
    assert re.findall(rb"^data: (.*)$", body, re.MULTILINE) == [b"mine"]
    assert complete
    assert (line["status"], line["end"], line.get("error")) == (200, "complete", None)
    assert line["bytes_out"] == len(b"data: mine\n\n")


async def answered_by_plugin(
    start_gateway: StartGateway, answer: str
) -> tuple[bytes, bool, dict[str, Any]]:
    async with ScriptedUpstream() as upstream:
        middleware = [{"use": "tests.support.answering_plugin.answer"}]
        gateway = await start_gateway(
            simple_config(upstream.url, heartbeat=SOON, middleware=middleware)
        )
        async with RawClient(gateway.port) as client:
            await client.send(POST.replace(b"\r\n", b"\r\nX-Answer: %b\r\n" % answer.encode(), 1))
            connection = await received(upstream)
            assert (await client.read_head()).status == 200
            await connection.send(reply(b"{}"))
            body, complete = await read_stream(client)
            connection.close()
        return body, complete, await logged(gateway)


async def test_a_failure_behind_an_early_head_is_one_in_logs_and_traces(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        document = simple_config(upstream.url, heartbeat=SOON)
        log = {"format": "json", "sample": 0.0}
        document["telemetry"] = {"log": log, "traces": {"sample": 0}}
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await received(upstream)
            await client.read_head()
            await connection.send(reply(b"{}", status="500 Internal Server Error"))
            await client.read_to_end()
        line = await logged(gateway)
        [row] = json.loads(gateway.server.state.records.take())["tallies"]
    assert line["error"] == "upstream_rejected"
    assert row[6] == 1, "errors"


CONNECTIONS = {"Connection", "MovingDeadline"}
"""A client connection and its transport refer to each other, and its deadline goes with it."""


@pytest.mark.parametrize("way", ["plain", "early", "beats", "kept", "gone on with", "zipped"])
async def test_no_stream_is_left_to_the_garbage_collector(
    start_gateway: StartGateway, way: str
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        ways: dict[str, dict[str, Any]] = {
            "early": {"heartbeat": SOON},
            "beats": {"heartbeat": SOON},
            "kept": {"heartbeat": "60s", "resume": {}},
            "zipped": {"compress": ["gzip"]},
        }
        if way == "gone on with":
            async with ScriptedUpstream(FIRST) as first, ScriptedUpstream(SECOND) as second:
                gateway = await start_gateway(config(first, second))
                found = await garbage_of(gateway, upstream, way)
        else:
            gateway = await start_gateway(simple_config(upstream.url, **ways.get(way, {})))
            found = await garbage_of(gateway, upstream, way)
    assert found == []


async def garbage_of(gateway: RunningGateway, upstream: ScriptedUpstream, way: str) -> list[str]:
    """What of the gateway's only the garbage collector finds, after a stream."""
    if way in ("early", "beats"):
        upstream.script = None
    data = json.dumps(ASKED).encode()
    raw = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n"
    raw += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
    found: list[str] = []
    for _ in range(2):  # what is made only once is made in the first
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.garbage.clear()
        gc.disable()
        try:
            async with RawClient(gateway.port) as client:
                await client.send(raw + data)
                if way in ("early", "beats"):
                    connection = await received(upstream)
                    if way == "beats":
                        await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
                    await client.read_until(b": heartbeat\n")
                    if way == "early":
                        await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
                    await connection.send(LAST_CHUNK)
                    await client.read_until(LAST_CHUNK)
                    connection.close()
                else:
                    await client.read_head()
                    await read_stream(client)
            await gateway.wait_for_log(lambda line: line["event"] == "request")
            gateway.log.lines.clear()
            for _ in range(5):
                await asyncio.sleep(0)
            gc.collect()
            found = [
                type(each).__qualname__
                for each in gc.garbage
                if type(each).__module__.startswith("gateway.")
                and type(each).__name__ not in CONNECTIONS
            ]
        finally:
            gc.enable()
            gc.set_debug(0)
            gc.garbage.clear()
    return found


async def test_a_request_that_comes_when_others_are_ended_is_refused(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as two:
            await one.send(POST)
            connection = await received(upstream)
            await two.send(POST[:10])
            listener = gateway.server.listener
            await eventually(lambda: any(each.awaited for each in listener.connections))
            draining = asyncio.create_task(gateway.server.listener.drain(0.0))
            assert (await one.read_response("POST")).status == 503
            await two.send(POST[10:])
            refused = await two.read_response("POST")
            await two.read_to_end()
            await draining
            connection.close()
    assert refused.status == 503
    assert refused.json()["error"]["code"] == "gateway_draining"
    assert refused.value("retry-after") == b"1"
    assert len(upstream.requests) == 1


async def test_a_stream_that_a_plug_in_sends_is_let_go_when_its_client_leaves(
    start_gateway: StartGateway,
) -> None:
    middleware = [{"use": "tests.support.sending_plugin.send"}]
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, middleware=middleware))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await received(upstream)
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_until(EVENTS[0])
            (served,) = gateway.server.listener.connections
            writer: Any = served.writer
            assert writer.slot is not None  # its heartbeats
        line = await logged(gateway)
        assert line["end"] == "client_abort"
        assert not gateway.server.listener.streams
        assert writer.slot is None


@pytest.mark.parametrize("plugin", ["send_and_fail", "begin_and_fail", "send_and_return_another"])
async def test_a_plug_in_that_has_sent_a_response_causes_no_second_one(
    start_gateway: StartGateway, plugin: str
) -> None:
    middleware = [{"use": f"tests.support.sending_plugin.{plugin}"}]
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, middleware=middleware))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            assert (await client.read_head()).status == 200
            assert b"HTTP/1.1" not in await client.read_to_end()
        line = await logged(gateway)
    assert line["end"] == "internal_error"
