"""What a bridge says of messages it cannot take, and of generations that fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.support.bridge import bridge_client, bridged, texts
from tests.support.client import ask, request
from tests.support.exchange import EVENTS
from tests.support.gateway import StartGateway
from tests.support.refusal import assert_error
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    stepped_stream,
)


@pytest.mark.parametrize(
    ("message", "code", "tag"),
    [
        ("", "invalid_json", None),
        ("[]", "invalid_json", None),
        ('{"op": "create", "id": "a", "body": {}', "invalid_json", None),
        ('{"op": "sing", "id": "a"}', "unknown_op", "a"),
        ('{"id": "a"}', "unknown_op", "a"),
        ('{"op": "create", "body": {}}', "invalid_message", None),
        ('{"op": "create", "id": "", "body": {}}', "invalid_message", None),
        ('{"op": "create", "id": true, "body": {}}', "invalid_message", None),
        ('{"op": "create", "id": "a"}', "invalid_message", "a"),
        ('{"op": "create", "id": "a", "body": []}', "invalid_message", "a"),
        ('{"op": "create", "id": "a", "body": {}, "stream": true}', "invalid_message", "a"),
        ('{"op": "create", "id": "a", "body": {}, "path": "/x y"}', "invalid_message", "a"),
        ('{"op": "create", "id": "a", "body": {}, "headers": {"x": 1}}', "invalid_message", "a"),
        (
            '{"op": "create", "id": "a", "body": {}, "headers": {"x": "a\\r\\nb: c"}}',
            "invalid_message",
            "a",
        ),
        (
            '{"op": "create", "id": "a", "body": {}, "headers": {"Authorization": "x"}}',
            "invalid_message",
            "a",
        ),
        (
            '{"op": "create", "id": "a", "body": {"x": ' + "[" * 400 + "]" * 400 + "}}",
            "invalid_message",
            "a",
        ),
        ('{"op": "cancel", "id": "a"}', "unknown_id", "a"),
        ('{"op": "resume", "id": "a"}', "invalid_message", "a"),
        ('{"op": "resume", "id": "a", "after": "7"}', "invalid_event_id", "a"),
        ('{"op": "resume", "id": "a", "stream": "../x"}', "invalid_message", "a"),
        ('{"op": "resume", "id": "a", "stream": "' + "0" * 34 + '"}', "stream_not_found", "a"),
    ],
)
async def test_a_message_that_cannot_be_taken_is_answered_and_the_socket_stays(
    start_gateway: StartGateway, message: str, code: str, tag: str | None
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.connection.send(message)
            said = await client.hear()
            assert (said["type"], said["error"]["code"], said.get("id")) == ("error", code, tag)
            assert "sing" not in said["error"]["message"]
            await client.say("ping")
            assert await client.hear() == {"type": "pong"}
        assert upstream.requests == []


async def test_an_id_in_use_is_refused_and_its_generation_goes_on(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            await client.hear()
            await client.create("a")
            assert (await client.hear())["error"]["code"] == "duplicate_id"
            await upstream.release(EVENTS[0])
            await upstream.finish()
            assert texts(await client.end_of("a")) == [{"n": 1}]


async def test_binary_messages_close_the_socket_with_1003(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.connection.send(b"\x00")
            assert (await client.closed())[0] == 1003


async def test_a_message_over_the_cap_closes_the_socket_with_1009(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(bridged(upstream.url, websocket={"max_message": "1KiB"}))
        async with bridge_client(gateway.port) as client:
            await client.create("a", body={"x": "y" * 2000})
            assert (await client.closed())[0] == 1009
        assert upstream.requests == []


async def test_an_error_of_the_upstream_is_said_as_it_is(start_gateway: StartGateway) -> None:
    error = {"error": {"message": "Too long.", "code": "context_length_exceeded"}}
    async with ScriptedUpstream(json_reply(error, status="400 Bad Request")) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            (said,) = await client.end_of("a")
    assert (said["status"], said["error"]) == (400, error["error"])


async def _cut(connection: UpstreamConnection) -> None:
    await connection.read_request()
    await connection.send(STREAM_HEAD + chunk(EVENTS[0]))


async def _errs(connection: UpstreamConnection) -> None:
    await connection.read_request()
    error = chunk(b'data: {"error": {"code": "x"}}\n\n')
    await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + error + LAST_CHUNK)


async def _errs_and_goes_on(connection: UpstreamConnection) -> None:
    await connection.read_request()
    error = chunk(b'data: {"error": {"code": "x"}}\n\n')
    await connection.send(STREAM_HEAD + error + chunk(EVENTS[0]) + LAST_CHUNK)


@pytest.mark.parametrize(
    ("script", "types", "code"),
    [
        (_cut, ["created", "event", "error"], "upstream_reset"),
        (_errs, ["created", "event", "error"], "x"),
        (_errs_and_goes_on, ["created", "event", "event", "done"], None),
    ],
)
async def test_a_stream_that_ends_with_an_error_says_it_once(
    start_gateway: StartGateway,
    script: Callable[[UpstreamConnection], Awaitable[None]],
    types: list[str],
    code: str | None,
) -> None:
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            heard = await client.end_of("a")
            await client.say("ping")
            assert await client.hear() == {"type": "pong"}
    assert [message["type"] for message in heard] == types
    assert heard[-1].get("error", {}).get("code") == code


async def test_an_upstream_that_is_away_is_told_of(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(bridged("http://127.0.0.1:9"))
    async with bridge_client(gateway.port) as client:
        await client.create("a")
        (said,) = await client.end_of("a")
    assert (said["status"], said["error"]["code"]) == (502, "upstream_connect_failed")
    assert said["request_id"]


async def test_a_plain_request_is_told_to_upgrade(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(bridged("http://127.0.0.1:9"))
    response = await ask(gateway.port, request(target="/v1/stream"))
    assert_error(response, 426, code="upgrade_required")
    assert response.value("upgrade") == b"websocket"
