"""What a client that connects again by itself is told about when."""

from __future__ import annotations

import pytest

from tests.support.client import RawClient, request
from tests.support.exchange import EVENTS, POST, read_stream
from tests.support.exchange import ask as ask_chat
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    json_reply,
    sse_reply,
)

EVENT_SOURCE = request(headers=["Accept: text/event-stream"])
ADVICE = b"retry: 2500\n"


async def test_an_event_source_is_told_once_at_the_start(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, retry="2500ms"))
        response = await ask_chat(gateway.port, EVENT_SOURCE)
    assert response.clean_end
    assert response.body == ADVICE + b"".join(EVENTS)


async def test_a_byte_order_mark_does_not_stand_behind_it(start_gateway: StartGateway) -> None:
    script = sse_reply([b"\xef", b"\xbb\xbfdata: 1\n\n"])
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, retry="2500ms"))
        response = await ask_chat(gateway.port, EVENT_SOURCE)
    assert response.body == ADVICE + b"data: 1\n\n"


async def test_it_comes_with_an_early_head(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        config = simple_config(upstream.url, retry="2500ms", heartbeat="50ms")
        gateway = await start_gateway(config)
        async with RawClient(gateway.port) as client:
            await client.send(EVENT_SOURCE)
            connection = await upstream.accept()
            await connection.read_request()
            await client.read_head()
            first = await client.read_chunk()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
            body, _ = await read_stream(client)
            connection.close()
    assert first == ADVICE + b": heartbeat\n"
    assert body.replace(b": heartbeat\n", b"") == EVENTS[0]


@pytest.mark.parametrize("raw", [POST, request(headers=["Accept: application/json"])])
async def test_who_would_not_heed_it_is_not_told(start_gateway: StartGateway, raw: bytes) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, retry="2500ms"))
        response = await ask_chat(gateway.port, raw)
    assert response.body == b"".join(EVENTS)


async def test_what_is_no_event_stream_does_not_tell(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, retry="2500ms"))
        response = await ask_chat(gateway.port, EVENT_SOURCE)
    assert response.body == b"{}"
