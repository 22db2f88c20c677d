"""Limits of a route that keeps streams: what they decide before a body is read here, and what a
repeated request costs.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.resume.streams import EVENTS, ask, payload, post, stream_id
from tests.support.client import RawClient, request
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.refusal import assert_error
from tests.support.upstream import ScriptedUpstream, sse_reply, stepped_stream
from tests.support.waiting import eventually

MIB = 1024 * 1024
CHAT = "/v1/chat/completions"
LARGE = json.dumps({"model": "m", "stream": True, "text": "x" * MIB}).encode()
KEY = "Idempotency-Key: k"


@pytest.fixture
async def upstream(start_gateway: StartGateway) -> AsyncIterator[ScriptedUpstream]:
    """It ends before the gateway does, and its connections with it."""
    async with ScriptedUpstream(stepped_stream()) as upstream:
        yield upstream


def config(upstream: ScriptedUpstream, limit: dict[str, Any], **resume: Any) -> dict[str, Any]:
    document = simple_config(upstream.url, limits=["l"], resume=resume)
    return {**document, "limits": {"l": {"key": "ip", **limit}}}


def held(gateway: RunningGateway) -> int:
    return gateway.server.state.bodies.held_bytes


async def until_held(gateway: RunningGateway, size: int) -> None:
    await eventually(lambda: held(gateway) == size)


async def begun(client: RawClient, *headers: str, path: str = CHAT, size: int = 5 * MIB) -> None:
    """Send a head, and nothing of its body."""
    lines = ["Content-Type: application/json", f"Content-Length: {size}", *headers]
    await client.send(request("POST", path, headers=lines))


@pytest.mark.parametrize("limit", [{"requests": "1/day"}, {"concurrency": 1}])
@pytest.mark.parametrize("tokens", [{}, {"tokens": "100000/day"}])
@pytest.mark.parametrize(
    ("path", "keys"),
    [(CHAT, ("Idempotency-Key: a", "Idempotency-Key: b")), ("/v1/responses", ("X: a", "X: b"))],
)
async def test_a_caller_at_its_limit_is_refused_before_its_body_is_read(
    upstream: ScriptedUpstream,
    start_gateway: StartGateway,
    limit: dict[str, Any],
    tokens: dict[str, Any],
    path: str,
    keys: tuple[str, str],
) -> None:
    gateway = await start_gateway(config(upstream, {**limit, **tokens}))
    async with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        await begun(first, keys[0], path=path)
        await first.send(b" " * 100_000)
        await until_held(gateway, 5 * MIB)
        await begun(second, keys[1], path=path)
        assert_error(await second.read_response("POST"), 429, code="rate_limit_exceeded")
        assert held(gateway) == 5 * MIB


async def test_a_repeat_passes_no_limit_while_the_first_body_arrives_or_later(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(config(upstream, {"requests": "1/day", "concurrency": 1}))
    async with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        raw = post(KEY, body=LARGE)
        await first.send(raw[:200_000])
        await until_held(gateway, len(LARGE))
        await second.send(raw[:200_000])
        await until_held(gateway, 2 * len(LARGE))
        await first.send(raw[200_000:])
        own = await first.read_head()
        assert own.value("x-ratelimit-remaining-requests") == b"0"
        await second.send(raw[200_000:])
        joined = await second.read_head()
        assert stream_id(joined) == stream_id(own)
        assert joined.value("x-ratelimit-remaining-requests") is None
        assert held(gateway) == 0  # of neither, while the stream goes on
        async with RawClient(gateway.port) as third:
            await begun(third, KEY, size=len(LARGE))
            await third.send(LARGE)
            assert stream_id(await third.read_head()) == stream_id(own)
            await upstream.release(EVENTS[0])
            for reader in (first, second, third):
                assert payload(await reader.read_chunk() or b"") == EVENTS[:1]
            await upstream.finish()
            for reader in (first, second, third):
                assert await reader.read_chunk() is None
    other = await ask(gateway, post(KEY, body=LARGE + b" "), "POST")
    assert_error(other, 422, code="idempotency_key_reused")
    assert len(upstream.requests) == 1
    assert len(gateway.server.runtime.leases) == 0


async def test_a_repeat_that_overtakes_the_first_is_charged_as_a_new_request(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream, {"concurrency": 1}))
        raw = post(KEY, body=LARGE)
        async with RawClient(gateway.port) as first:
            await first.send(raw[:200_000])
            await until_held(gateway, len(LARGE))
            refused = await ask(gateway, raw, "POST")
            assert_error(refused, 429, code="rate_limit_exceeded")
            await first.send(raw[200_000:])
            assert payload((await first.read_response("POST")).body) == EVENTS
        assert payload((await ask(gateway, raw, "POST")).body) == EVENTS
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("same", [True, False])
async def test_a_request_that_joins_another_gives_back_what_it_took_on_its_head(
    upstream: ScriptedUpstream, start_gateway: StartGateway, same: bool
) -> None:
    gateway = await start_gateway(config(upstream, {"requests": "5/day", "concurrency": 2}))
    async with RawClient(gateway.port) as late, RawClient(gateway.port) as first:
        raw = post(KEY) if same else post(KEY, body=b'{"model": "n", "stream": true}')
        await late.send(raw[:-5])
        await eventually(lambda: len(gateway.server.runtime.leases))
        await first.send(post(KEY))  # comes whole, and so stands for the key before the other
        own = await first.read_head()
        assert own.value("x-ratelimit-remaining-requests") == b"3"
        await late.send(raw[-5:])
        answer = await late.read_head()
        assert answer.status == (200 if same else 422)
        assert answer.value("x-ratelimit-remaining-requests") is None
        assert answer.value("ratelimit") is None
        async with RawClient(gateway.port) as third:  # the slot is free, though it still reads
            await third.send(post())
            passed = await third.read_head()
            assert passed.status == 200
            assert passed.value("x-ratelimit-remaining-requests") == b"3"
            assert len(gateway.server.runtime.leases) == 2
            third.reset()
    await upstream.connections[0].wait_client_gone()
    await upstream.connections[1].wait_client_gone()
    await eventually(lambda: not len(gateway.server.runtime.leases))


async def test_a_repeat_over_the_limit_of_reads_is_refused_before_its_body_is_read(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        limit = {"requests": "1/day"}
        gateway = await start_gateway(config(upstream, limit, reads="2/minute"))
        raw = post(KEY, body=LARGE)
        said = [await ask(gateway, raw, "POST") for _ in range(3)]
        assert [one.status for one in said] == [200, 200, 200]  # one read each for two of them
        async with RawClient(gateway.port) as client:
            await begun(client, KEY)
            refused = await client.read_response("POST")
        assert_error(refused, 429, code="rate_limit_exceeded")
        assert "resume.reads" in refused.json()["error"]["message"]
        assert len(upstream.requests) == 1


async def test_a_client_that_leaves_before_its_keyed_body_is_here_gives_its_slot_back(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream, {"concurrency": 1}))
        async with RawClient(gateway.port) as client:
            await begun(client, KEY)
            await client.send(b" " * 100_000)
            await until_held(gateway, 5 * MIB)
            client.reset()
        await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert held(gateway) == 0
        answer = await ask(gateway, post(KEY, body=LARGE), "POST")
        assert payload(answer.body) == EVENTS
