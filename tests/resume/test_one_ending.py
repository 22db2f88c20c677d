"""However a kept stream ends, each of its readers is told once, and the log says how."""

from __future__ import annotations

import asyncio
import re

import pytest

from gateway.resume import generation as generations
from gateway.sse import EventSplitter
from tests.resume.streams import EVENTS, ask, begin, follow, payload, post
from tests.support.client import RawClient
from tests.support.exchange import read_stream
from tests.support.gateway import StartGateway, simple_config
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    sse_reply,
    stepped_stream,
)

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
            keeper = exchange.keeper
            assert isinstance(keeper, generations.Generation)
            (reader,) = keeper.log.readers
            keeper.finish(None)
            assert not reader.probe()  # type: ignore[attr-defined]
            assert gateway.server.listener.cancel(exchange.request_id)
            rest = await client.read_to_end()
    assert b"error" not in rest
    assert rest.endswith(LAST_CHUNK)


async def test_a_reader_that_is_cut_short_did_not_come_to_its_end(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={"on_disconnect": "detach"})
        )
        stream = await begin(gateway, upstream)
        async with RawClient(gateway.port) as client:
            await client.send(follow(stream))
            head = await client.read_head()
            request_id = (head.value("x-request-id") or b"").decode()
            assert gateway.server.listener.cancel(request_id)
            body, complete = await read_stream(client)
        line = await gateway.wait_for_log(lambda line: line.get("method") == "GET")
        await upstream.finish()
    assert not complete
    assert len(ERROR.findall(body)) == 1
    assert (line["end"], line["error"]) == ("cancelled", "request_cancelled")


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


@pytest.mark.parametrize("name", ["\ud800", "\U0001f600"])
async def test_callers_have_streams_whatever_they_are_called(
    start_gateway: StartGateway, auth: Auth, name: str
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        upstreams = {"admission": {"concurrency": 1}}
        document = simple_config(
            upstream.url, resume={}, auth=["corp"], limits=["own"], upstream=upstreams
        )
        document["limits"] = {"own": {"key": "subject", "requests": "9/minute"}}
        gateway = await start_gateway(document, auth=auth, telemetry={"traces": {"sample": 1}})
        token = bearer(sub=name, org=name)
        response = await ask(gateway, post(token, "Idempotency-Key: \xff"), "POST")
        again = await ask(gateway, post(token, "Idempotency-Key: \xff"), "POST")
    assert response.status == 200
    assert payload(response.body) == payload(again.body) == EVENTS


async def test_a_key_may_come_with_any_query(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        raw = post("Idempotency-Key: k").replace(b"completions ", b"completions?a=%ff&b=\xff ", 1)
        response = await ask(gateway, raw, "POST")
    assert response.status in (200, 400)


async def test_who_waits_for_anothers_answer_is_not_left_in_silence(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}, heartbeat="50ms"))
        raw = post("Idempotency-Key: k")
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as two:
            await one.send(raw)
            connection = await upstream.accept()
            await connection.read_request()
            await two.send(raw)
            heads = [await one.read_head(), await two.read_head()]
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
            bodies = [await read_stream(one), await read_stream(two)]
    assert [head.status for head in heads] == [200, 200]
    assert heads[1].value("x-stream-id") is None
    told = [(payload(body), complete) for body, complete in bodies]
    assert told == [(EVENTS[:1], True)] * 2


@pytest.mark.parametrize("answer", [STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK, None])
async def test_who_waited_in_vain_asks_itself_in_the_stream_it_has(
    start_gateway: StartGateway, answer: bytes | None
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}, heartbeat="50ms"))
        raw = post("Idempotency-Key: k")
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as two:
            await one.send(raw)
            connection = await upstream.accept()
            await connection.read_request()
            await two.send(raw)
            await two.read_head()
            one.reset()
            connection = await upstream.accept()
            await connection.read_request()
            if answer is None:
                connection.close()
            else:
                await connection.send(answer)
            body, complete = await read_stream(two)
            connection.close()
    assert complete is (answer is not None)
    assert payload(body) == (EVENTS[:1] if complete else [])
    assert len(ERROR.findall(body)) == (0 if complete else 1)
