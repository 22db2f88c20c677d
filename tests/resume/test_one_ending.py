"""However a kept stream ends, each of its readers is told once, and the log says how."""

from __future__ import annotations

import re

import pytest

from tests.resume.streams import EVENTS, ask, payload, post
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
)

ERROR = re.compile(rb'"error": ?\{')


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
