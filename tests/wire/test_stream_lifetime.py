"""Streams that end after `max_stream` of their route."""

from __future__ import annotations

import json
from typing import Any

from gateway.errors import CredentialExpired, StreamExpired
from gateway.exchange import Exchange
from gateway.middleware.stream_lifetime import StreamLifetime
from tests.support import metrics
from tests.support.client import ConnectionEnded, RawClient, request
from tests.support.exchange import ask
from tests.support.gateway import LogLine, StartGateway, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply, stepped_stream
from tests.support.waiting import SLACK_S

EVENT = b'data: {"n": 1}\n\n'
POST = request(
    "POST", "/v1/chat/completions", headers=["Content-Type: application/json"], body=b"{}"
)
GRACE = {"on_disconnect": "grace"}


def of_request(line: LogLine) -> bool:
    return bool(line["event"] == "request")


async def to_the_end(client: RawClient) -> bytes:
    """What comes until the stream breaks off, which it has to."""
    data = b""
    try:
        while (piece := await client.read_chunk()) is not None:
            data += piece
    except ConnectionEnded:
        return data
    raise AssertionError("the stream ended as if it were complete")


def last_event(data: bytes) -> Any:
    return json.loads(data.rpartition(b"data: ")[2])


async def test_a_stream_ends_with_an_error_after_its_longest_duration(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, max_stream="300ms"))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await upstream.release(EVENT)
            await client.read_head()
            data = await to_the_end(client)
        await upstream.connections[-1].wait_client_gone(5)
        line = await gateway.wait_for_log(of_request)
        reclaimed = await metrics.read(gateway)
    assert data.startswith(EVENT)
    assert last_event(data)["error"]["code"] == "stream_expired"
    assert (line["status"], line["end"], line["error"]) == (200, "timeout", "stream_expired")
    assert 300 <= line["duration_ms"] < 300 + SLACK_S * 1000
    assert reclaimed.value("gateway_reclaimed_total", route="main", reason="max_stream") == 1


async def test_a_kept_stream_that_may_go_on_ends_for_its_reader_only(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        document = simple_config(upstream.url, max_stream="300ms", resume=GRACE)
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await upstream.release(EVENT)
            stream = (await client.read_head()).value("x-stream-id")
            data = await to_the_end(client)
        assert last_event(data)["error"]["code"] == "stream_expired"
        assert data.count(b"id: ") == 1  # the error has none: it is not part of the stream
        assert stream is not None
        target = f"/v1/streams/{stream.decode()}?after=1"
        async with RawClient(gateway.port) as client:
            await client.send(request(target=target))
            await client.read_head()
            await upstream.release(EVENT)
            rest = await client.read_chunk()
            assert rest is not None
            assert rest.endswith(EVENT)
            # This reader may stay for as long as the first.
            assert last_event(await to_the_end(client))["error"]["code"] == "stream_expired"
        await upstream.finish()


async def test_a_kept_stream_that_may_not_go_on_ends(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, max_stream="300ms", resume={}))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await upstream.release(EVENT)
            await client.read_head()
            data = await to_the_end(client)
        await upstream.connections[-1].wait_client_gone(5)
        assert last_event(data)["error"]["code"] == "stream_expired"
        line = await gateway.wait_for_log(of_request)
    assert (line["end"], line["error"]) == ("timeout", "stream_expired")


async def test_a_response_that_is_no_stream_is_sent_in_full(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({"n": 1})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, max_stream="1ms"))
        answer = await ask(gateway.port)
    assert (answer.status, answer.body) == (200, b'{"n": 1}')


def test_a_credential_that_expires_sooner_ends_the_stream_sooner() -> None:
    class Asked:
        exchange = Exchange("POST", "127.0.0.1", False)

    exchange = Asked.exchange
    exchange.expires_at = 1.0
    StreamLifetime(60.0).on_request(Asked)  # type: ignore[arg-type]
    assert (exchange.expires_at, exchange.expires_with) == (1.0, CredentialExpired)
    exchange.expires_at = float("inf")
    StreamLifetime(60.0).on_request(Asked)  # type: ignore[arg-type]
    assert exchange.expires_with is StreamExpired
