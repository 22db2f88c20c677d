"""Generations that are kept: without readers, with several, with slow ones, and broken off."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from gateway.resume import generation as generations
from gateway.sse import EventSplitter
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
from tests.support.client import RawClient, request
from tests.support.exchange import read_stream
from tests.support.gateway import StartGateway, simple_config
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    json_reply,
    reply_then_reset,
    sse_reply,
    stepped_stream,
)
from tests.support.waiting import asked_until, eventually


@pytest.fixture
async def upstream(start_gateway: StartGateway) -> AsyncIterator[ScriptedUpstream]:
    """It ends before the gateway does, and its connections with it."""
    async with ScriptedUpstream(stepped_stream()) as upstream:
        yield upstream


async def test_by_default_a_generation_is_cancelled_with_its_last_reader(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={}))
    stream = await begin(gateway, upstream)
    await upstream.connections[0].wait_client_gone()
    line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert line["end"] == "client_abort"
    again = await ask(gateway, follow(stream))
    assert not again.clean_end
    assert numbers(again.body) == [1, 2]
    assert b"stream_cancelled" in again.body


async def test_under_grace_a_generation_waits_for_a_reader(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(
        simple_config(upstream.url, resume={"on_disconnect": "grace", "grace": "60s"})
    )
    stream = await begin(gateway, upstream)
    async with RawClient(gateway.port) as client:
        await client.send(follow(stream, f"Last-Event-ID: {stream}.1"))
        await client.read_head()
        await upstream.release(EVENTS[1])
        assert payload(await client.read_chunk() or b"") == EVENTS[1:2]
        await upstream.finish()
        assert await client.read_chunk() is None
    line = await gateway.wait_for_log(lambda line: line.get("method") == "POST")
    assert line["end"] == "complete"


async def test_under_grace_it_is_cancelled_when_nobody_comes(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(
        simple_config(upstream.url, resume={"on_disconnect": "grace", "grace": "100ms"})
    )
    await begin(gateway, upstream)
    await upstream.connections[0].wait_client_gone()


async def test_a_detached_generation_goes_on_and_counts_as_an_open_request(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={"may_detach": True}))
    stream = await begin(gateway, upstream, "X-On-Disconnect: detach")
    await upstream.release(EVENTS[1])
    assert gateway.server.state.overload.requests == 1
    (kept,) = gateway.server.listener.exchanges
    assert kept.path == "/v1/chat/completions"
    await upstream.finish()
    await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert gateway.server.state.overload.requests == 0
    again = await ask(gateway, follow(stream))
    assert payload(again.body) == EVENTS[:2]


async def test_an_operator_cancels_a_detached_generation(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={"on_disconnect": "detach"}))
    stream = await begin(gateway, upstream)
    (kept,) = gateway.server.listener.exchanges
    assert gateway.server.listener.cancel(kept.request_id)
    await upstream.connections[0].wait_client_gone()
    line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert line["end"] == "cancelled"
    assert b"request_cancelled" in (await ask(gateway, follow(stream))).body


@pytest.mark.parametrize("asked", ["sometimes", "grace=x", "detach", "cancel=1", ""])
async def test_what_a_request_may_not_ask_is_refused(
    upstream: ScriptedUpstream, start_gateway: StartGateway, asked: str
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={}))
    refused = await ask(gateway, post(f"X-On-Disconnect: {asked}"), "POST")
    assert refused.status == 400
    assert refused.json()["error"]["code"] == "invalid_on_disconnect"
    assert not upstream.requests


async def test_delete_cancels_at_once(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={"on_disconnect": "detach"}))
    async with RawClient(gateway.port) as client:
        await client.send(post())
        await upstream.wait_requests(1)
        stream = ((await client.read_head()).value("x-stream-id") or b"").decode()
        assert (await ask(gateway, follow(stream, method="DELETE"), "DELETE")).status == 204
        await upstream.connections[0].wait_client_gone()
        assert b"stream_cancelled" in (await client.read_chunk() or b"")
    assert (await ask(gateway, follow(stream, method="PUT"), "PUT")).status == 405


async def test_e10_several_readers_follow_one_generation(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={}))
    async with RawClient(gateway.port) as one, RawClient(gateway.port) as two:
        await one.send(post())
        await upstream.wait_requests(1)
        stream = ((await one.read_head()).value("x-stream-id") or b"").decode()
        await two.send(follow(stream))
        await two.read_head()
        await upstream.release(EVENTS[0])
        for reader in (one, two):
            assert payload(await reader.read_chunk() or b"") == EVENTS[:1]
        one.reset()
        await upstream.release(EVENTS[1])
        assert payload(await two.read_chunk() or b"") == EVENTS[1:2]
        await upstream.finish()
        assert await two.read_chunk() is None
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ("0" * 34 + ".1", 404),
        ("x", 400),
        ("1", 400),
        ("0" * 34 + ".-1", 400),
        ("0" * 34 + "." + "9" * 40, 400),
        ("../../admin", 400),
        ("a" * 1000, 400),
        ("é", 400),
    ],
)
async def test_e9_a_forged_event_id_is_refused(
    upstream: ScriptedUpstream, start_gateway: StartGateway, last: str, status: int
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={}))
    for raw in (post(f"Last-Event-ID: {last}"), request(headers=[f"Last-Event-ID: {last}"])):
        assert (await ask(gateway, raw)).status == status
    assert not upstream.requests


async def test_e9_a_number_that_was_never_given_is_refused(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        stream = stream_id(await ask(gateway, post()))
        for after in ("9", "999999999999999", "-1", "x", "1.5", "1" * 5000):
            assert (await ask(gateway, follow(stream, query=f"?after={after}"))).status == 400
        assert (await ask(gateway, follow("0" * 34))).status == 404
        assert (await ask(gateway, follow("x"))).status == 404


@pytest.mark.parametrize("last", [b"a\0b", b"a" * (1 << 20)])
async def test_e9_an_event_id_that_is_no_header_is_refused(
    upstream: ScriptedUpstream, start_gateway: StartGateway, last: bytes
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={}))
    async with RawClient(gateway.port) as client:
        raw = request(headers=[b"Last-Event-ID: " + last])
        await client.send_until_answered([raw])
        assert (await client.read_response()).status in (400, 431)


async def test_e9_another_callers_stream_is_not_there(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, auth=["corp"], resume={}), auth=auth
        )
        mine = bearer(sub="ada")
        stream = stream_id(await ask(gateway, post(mine)))
        assert (await ask(gateway, follow(stream, mine))).status == 200
        theirs = bearer(sub="eve")
        last = f"Last-Event-ID: {stream}.1"
        for raw in (
            follow(stream, theirs),
            follow(stream, theirs, last),
            follow(stream, theirs, method="DELETE"),
            post(theirs, last),
        ):
            refused = await ask(gateway, raw)
            assert refused.status == 404
            unknown = raw.replace(stream.encode(), b"0" * 34)
            same = await ask(gateway, unknown)
            ours, none = refused.json()["error"], same.json()["error"]
            assert ours | {"request_id": ""} == none | {"request_id": ""}
        assert (await ask(gateway, follow(stream))).status == 401


async def test_a_key_is_single_flight(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={}))
    key = "Idempotency-Key: k1"
    async with RawClient(gateway.port) as one, RawClient(gateway.port) as two:
        await one.send(post(key))
        await two.send(post(key))
        await upstream.wait_requests(1)
        heads = [await one.read_head(), await two.read_head()]
        assert heads[0].value("x-stream-id") == heads[1].value("x-stream-id")
        await upstream.release(EVENTS[0])
        for reader in (one, two):
            assert payload(await reader.read_chunk() or b"") == EVENTS[:1]
        await upstream.finish()
        for reader in (one, two):
            assert await reader.read_chunk() is None
    again = await ask(gateway, post(key))
    assert payload(again.body) == EVENTS[:1]
    last = f"Last-Event-ID: {stream_id(again)}.1"
    assert (await ask(gateway, post(key, last))).body == b""
    other = await ask(gateway, post(key, body=b'{"other": 1}'))
    assert other.status == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert len(upstream.requests) == 1


async def test_a_key_whose_request_came_to_nothing_is_free_again(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({"ok": 1})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        key = "Idempotency-Key: k1"
        answers = await asyncio.gather(*(ask(gateway, post(key)) for _ in range(3)))
        assert [answer.json() for answer in answers] == [{"ok": 1}] * 3
        assert len(upstream.requests) == 3
        broken = reply_then_reset(STREAM_HEAD + chunk(EVENTS[0]))
        upstream.script = broken
        for connection in upstream.connections:
            connection.close()
        broken_off = await asked_until(  # not on a connection that was just closed
            lambda: ask(gateway, post(key)), lambda answer: answer.status == 200
        )
        assert not broken_off.clean_end
        upstream.script = sse_reply(EVENTS)
        assert payload((await ask(gateway, post(key))).body) == EVENTS


async def test_event_source_is_told_that_there_is_no_more(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        first = await ask(gateway, request())  # EventSource makes a GET
        assert payload(first.body) == EVENTS
        stream = stream_id(first)
        again = request(headers=[f"Last-Event-ID: {stream}.3"])
        assert payload((await ask(gateway, again)).body) == EVENTS[3:]
        last = request(headers=[f"Last-Event-ID: {stream}.8"])
        assert (await ask(gateway, last)).status == 204
        assert len(upstream.requests) == 1


async def test_only_a_stream_that_is_kept_says_which_it_is(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        assert (await ask(gateway, post())).value("x-stream-id") is None
        await upstream.stop()
        refused = await ask(gateway, post())
        assert refused.status == 502
        assert refused.value("x-stream-id") is None


async def test_a_drain_waits_for_a_detached_generation_and_then_says_why_it_ends(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={"on_disconnect": "detach"}))
    stream = await begin(gateway, upstream)
    async with RawClient(gateway.port) as client:
        await client.send(follow(stream))
        await client.read_head()
        assert payload(await client.read_chunk() or b"") == EVENTS[:1]
        stopping = asyncio.create_task(gateway.server.stop(0.3))
        await upstream.release(EVENTS[1])
        assert payload(await client.read_chunk() or b"") == EVENTS[1:2]
        assert b"gateway_draining" in (await client.read_chunk() or b"")
        await stopping
    (line,) = [line for line in gateway.log.requests if line["method"] == "POST"]
    assert line["end"] == "drain"


async def test_streams_survive_a_reload(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, resume={"on_disconnect": "detach"}))
    stream = await begin(gateway, upstream)
    await gateway.server.prepare(gateway.config)
    gateway.server.commit()
    async with RawClient(gateway.port) as client:
        await client.send(follow(stream, f"Last-Event-ID: {stream}.1"))
        await client.read_head()
        await upstream.release(EVENTS[1])
        assert payload(await client.read_chunk() or b"") == EVENTS[1:2]
        await upstream.finish()
        assert await client.read_chunk() is None
    assert payload((await ask(gateway, follow(stream))).body) == EVENTS[:2]


async def test_a_detached_generation_holds_its_slot_and_its_repetition_needs_none(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(
        simple_config(upstream.url, limits=["one"], resume={"on_disconnect": "detach"}),
        limits={"one": {"key": "ip", "concurrency": 1}},
    )
    key = "Idempotency-Key: k1"
    await begin(gateway, upstream, key)
    assert (await ask(gateway, post())).status == 429
    async with RawClient(gateway.port) as client:
        await client.send(post(key))
        assert (await client.read_head()).status == 200
        assert payload(await client.read_chunk() or b"") == EVENTS[:1]
        await upstream.finish()
        assert await client.read_chunk() is None


async def test_a_web_page_may_read_the_streams_id(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(
        simple_config(
            upstream.url,
            methods=["POST"],
            cors={"origins": ["https://app.test"]},
            resume={"on_disconnect": "detach"},
        )
    )
    origin = "Origin: https://app.test"
    stream = await begin(gateway, upstream, origin)
    asks = ["Access-Control-Request-Method: DELETE", origin]
    allowed = await ask(gateway, follow(stream, *asks, method="OPTIONS"), "OPTIONS")
    assert allowed.status == 204
    assert b"DELETE" in (allowed.value("access-control-allow-methods") or b"")
    assert (await ask(gateway, follow(stream, origin, method="DELETE"), "DELETE")).status == 204
    again = await ask(gateway, follow(stream, origin))
    assert again.value("access-control-allow-origin") == b"https://app.test"
    assert b"X-Stream-Id" in (again.value("access-control-expose-headers") or b"")


ERROR = re.compile(rb'"error": ?\{')


async def test_a_drain_tells_every_reader_once(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as two:
            await one.send(post())
            stream = ((await one.read_head()).value("x-stream-id") or b"").decode()
            await upstream.release(EVENTS[0])
            await two.send(follow(stream))
            await two.read_head()
            bodies = [await one.read_chunk(), await two.read_chunk()]
            assert bodies[0] == bodies[1]
            drain = asyncio.create_task(gateway.server.listener.drain(0.0))
            rests = [await one.read_to_end(), await two.read_to_end()]
            await drain
        lines = gateway.log.requests
    assert [len(ERROR.findall(rest)) for rest in rests] == [1, 1]
    assert not any(rest.endswith(LAST_CHUNK) for rest in rests)
    assert {line["end"] for line in lines if line["method"] == "POST"} == {"drain"}


async def test_an_end_that_comes_with_the_streams_own_says_nothing_more(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            await upstream.release(EVENTS[0])
            await client.read_until(EVENTS[0])
            (exchange,) = gateway.server.listener.exchanges
            detached_owner = exchange.detached_owner
            assert isinstance(detached_owner, generations.Generation)
            (served,) = gateway.server.listener.connections
            writer = served.writer
            assert writer is not None
            detached_owner.finish(None)
            assert not writer.probe()
            assert not gateway.server.listener.cancel(exchange.request_id)
            rest = await client.read_until(LAST_CHUNK)
    assert b"error" not in rest


async def test_an_event_that_is_too_large_ends_the_stream_with_an_error(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "EventSplitter", lambda: EventSplitter(100))
    whole = STREAM_HEAD + chunk(EVENTS[0]) + chunk(b"data: " + b"x" * 200) + LAST_CHUNK
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD)
            await client.read_head()
            # All the rest in one read, so that the end of the message has been seen as well.
            await connection.send(whole.removeprefix(STREAM_HEAD))
            body, complete = await read_stream(client)
            connection.close()
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert payload(body)[:1] == EVENTS[:1]
    assert b"upstream_invalid_response" in body
    assert not complete
    assert (line["end"], line["error"]) == ("upstream_reset", "upstream_invalid_response")


KIB, MIB = 1024, 1024 * 1024


async def test_where_all_readers_are_slow_the_upstream_waits_and_nothing_is_missed(
    start_gateway: StartGateway,
) -> None:
    events = [b"data: %d " % number + b"x" * (64 * KIB) + b"\n\n" for number in range(120)]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={"max_bytes": "512KiB"}),
            server={"send_timeout": "60s"},
        )
        async with RawClient(gateway.port, receive_buffer_bytes=4096) as client:
            await client.send(post())
            stream = stream_id(await client.read_head())
            client.pause_reading()
            log = gateway.server.runtime.streams.local(stream)
            assert log is not None
            await eventually(lambda: log.on_progress is not None)  # the upstream waits
            client.resume_reading()
            read = b""
            while (data := await client.read_chunk()) is not None:
                read += data
        assert numbers(read) == [*range(1, len(events) + 1)]
