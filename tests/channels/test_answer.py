"""Streamed answers that are published in a channel while their client receives them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.channels.clients import PUBLISHER, Reader, config
from tests.support.client import RawClient, ask, request
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply, sse_reply, stepped_stream

EVENTS = [b'data: {"n": %d}\n\n' % number for number in range(4)] + [b"data: [DONE]\n\n"]
BODY = b'{"model": "m", "stream": true}'


def chat(*headers: str) -> bytes:
    lines = ("Content-Type: application/json", *headers)
    return request("POST", "/v1/chat/completions", headers=lines, body=BODY)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        yield upstream


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, upstream: ScriptedUpstream, auth: Auth
) -> RunningGateway:
    return await start_gateway(config(upstream.url))


async def test_followers_and_the_caller_get_the_same_events_as_they_come(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    async with Reader(gateway, "show") as reader, RawClient(gateway.port) as client:
        await reader.opened()
        await client.send(chat(PUBLISHER, "X-Gateway-Publish: show"))
        head = await client.read_head()
        assert head.value("x-gateway-publish") == b"show"
        for event in EVENTS:
            await upstream.release(event)
            assert await client.read_chunk() == event
            published = await reader.event()
            assert published.raw.partition(b"\n")[2] == event
        (sent,) = upstream.requests
        assert sent.value("x-gateway-publish") is None


async def test_followers_learn_that_an_answer_broke_off(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    async with Reader(gateway, "show") as reader, RawClient(gateway.port) as client:
        await reader.opened()
        await client.send(chat(PUBLISHER, "X-Gateway-Publish: show"))
        await client.read_head()
        await upstream.release(EVENTS[0])
        await reader.data(1)
        client.reset()
        event = await reader.event()
        assert event.type == b"error"
        assert json.loads(event.data or b"")["error"]["code"] == "client_abort"


async def test_an_answer_is_published_with_resume_as_well(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        document = config(upstream.url)
        document["routes"][0]["resume"] = {}
        gateway = await start_gateway(document)
        async with Reader(gateway, "show") as reader:
            await reader.opened()
            response = await ask(gateway.port, chat(PUBLISHER, "X-Gateway-Publish: show"), "POST")
            assert response.clean_end
            data = [event.removeprefix(b"data: ").strip().decode() for event in EVENTS]
            assert await reader.data(len(EVENTS)) == data


async def test_an_answer_that_is_no_stream_is_not_published(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream.url))
        response = await ask(gateway.port, chat(PUBLISHER, "X-Gateway-Publish: show"), "POST")
        assert response.status == 200
        assert response.value("x-gateway-publish") is None


async def test_publishing_an_answer_needs_the_scope_and_a_name(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    refused = await ask(gateway.port, chat(bearer(), "X-Gateway-Publish: show"), "POST")
    assert (refused.status, refused.json()["error"]["code"]) == (403, "insufficient_scope")
    unnamed = await ask(gateway.port, chat(PUBLISHER, "X-Gateway-Publish: a/b"), "POST")
    assert (unnamed.status, unnamed.json()["error"]["code"]) == (404, "channel_not_found")
    assert not upstream.requests
