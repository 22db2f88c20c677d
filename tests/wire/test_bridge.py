"""Many generations over one socket: what is asked, and what is said of each."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.bridge import bridge_client, bridged, carried, texts
from tests.support.exchange import EVENTS
from tests.support.gateway import StartGateway
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    raw_reply,
    reply,
    sse_reply,
    stepped_stream,
)

NDJSON_HEAD = STREAM_HEAD.replace(b"text/event-stream", b"application/x-ndjson")


async def count(connection: UpstreamConnection) -> None:
    """As many events as the body says, each with the body's name."""
    asked = json.loads((await connection.read_request()).body)
    await connection.send(STREAM_HEAD)
    for number in range(asked["count"]):
        event = {"name": asked["name"], "n": number}
        await connection.send(chunk(b"data: %b\n\n" % json.dumps(event).encode()))
        await asyncio.sleep(0)
    await connection.send(LAST_CHUNK)


async def test_a_generation_is_said_event_by_event(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply([*EVENTS, b"data: [DONE]\n\n"])) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a", body={"model": "m", "messages": []})
            heard = await client.end_of("a")
        (asked,) = upstream.requests
        line = await gateway.wait_for_log(carried)
        socket = await gateway.wait_for_log(lambda line: line.get("route") == "bridge")
    assert [message["type"] for message in heard] == ["created", "event", "event", "done"]
    assert texts(heard) == [{"n": 1}, {"n": 2}]
    assert (asked.method, asked.target) == ("POST", "/v1/chat/completions")
    assert json.loads(asked.body) == {"model": "m", "messages": [], "stream": True}
    assert line["request_id"] == heard[0]["request_id"] != socket["request_id"]
    assert line["bridge"] == socket["request_id"]
    assert (line["route"], line["status"], line["end"]) == ("main", 200, "complete")
    assert (socket["status"], socket["messages_in"], socket["messages_out"]) == (101, 1, 4)


async def test_the_data_of_an_event_keeps_its_bytes(start_gateway: StartGateway) -> None:
    data = '{"big": 123456789012345678901, "f": 1.50, "t": "\\u00fc\u00fc"}'
    async with ScriptedUpstream(sse_reply([f"data: {data}\n\n".encode()])) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            await client.hear()
            said = await client.connection.recv()
    assert said == f'{{"id":"a","type":"event","data":{data}}}'


async def test_what_is_no_json_is_said_as_text(start_gateway: StartGateway) -> None:
    events = [b'data: {"n": 1}, "id": "b"\n\n', b"data: \xff\ndata: two\n\n", b": comment\n\n"]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            heard = await client.end_of("a")
    assert [message.get("text") for message in heard[1:-1]] == [
        '{"n": 1}, "id": "b"',
        "\ufffd\ntwo",
    ]


async def test_many_generations_are_told_apart(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(count) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            for number in range(30):
                await client.create(number, body={"name": f"g{number}", "count": 50})
            ended: set[int] = set()
            while len(ended) < 30:
                said = await client.hear()
                if said["type"] == "done":
                    ended.add(said["id"])
    for number in range(30):
        own = [message for message in client.seen if message["id"] == number]
        assert texts(own) == [{"name": f"g{number}", "n": n} for n in range(50)]


async def test_a_generation_that_waits_in_a_queue_is_told_its_place(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        admission = {"concurrency": 1, "queue": 5, "max_wait": "60s"}
        config = bridged(upstream.url, upstream={"admission": admission}, heartbeat="100ms")
        gateway = await start_gateway(config)
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            await client.hear_until("created", tag="a")
            await client.create("b")
            heard = await client.hear_until("queued", tag="b")
            assert [message["type"] for message in heard] == ["created", "queued"]
            assert heard[-1]["position"] == 1
            assert 0 < heard[-1]["deadline_s"] <= 60
            await upstream.finish()
            await client.end_of("a")
            await upstream.release(EVENTS[0])
            await upstream.finish()
            heard = await client.end_of("b")
            assert texts(heard) == [{"n": 1}]
            assert heard[-1]["type"] == "done"


async def test_messages_are_compressed_where_both_want_it(start_gateway: StartGateway) -> None:
    event = b'data: {"text": "%b"}\n\n' % (b"again and " * 100)
    async with ScriptedUpstream(sse_reply([event] * 20)) as upstream:
        gateway = await start_gateway(bridged(upstream.url, websocket={"deflate": True}))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            heard = await client.end_of("a")
            extensions = client.connection.protocol.extensions
    assert [type(each).__name__ for each in extensions] == ["PerMessageDeflate"]
    assert len(texts(heard)) == 20


async def test_an_id_may_be_used_again_when_its_generation_has_ended(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            for _ in range(3):
                await client.create(7)
                assert (await client.end_of(7))[-1] == {"id": 7, "type": "done"}


async def test_who_asks_for_no_stream_gets_one_message(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({"object": "chat.completion"})) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a", body={"model": "m", "stream": False})
            (said,) = await client.end_of("a")
        assert json.loads(upstream.requests[0].body)["stream"] is False
    assert (said["type"], said["status"]) == ("response", 200)
    assert said["data"] == {"object": "chat.completion"}
    assert said["request_id"]


@pytest.mark.parametrize(
    ("body", "content_type", "field"),
    [
        (b"WEBVTT", "text/plain", {"text": "WEBVTT"}),
        (b"\xff\x00", "audio/mpeg", {"base64": "/wA="}),
    ],
)
async def test_other_answers_are_said_as_text_or_in_base64(
    start_gateway: StartGateway, body: bytes, content_type: str, field: dict[str, str]
) -> None:
    async with ScriptedUpstream(raw_reply(reply(body, content_type=content_type))) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a", path="/v1/audio/speech")
            (said,) = await client.end_of("a")
    assert field.items() <= said.items()


async def test_other_endpoints_of_the_route_and_headers_may_be_named(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a", path="/v1/embeddings?x=1", headers={"OpenAI-Beta": "x=v1"})
            await client.end_of("a")
            await client.create("b", path="/v1/responses")
            await client.end_of("b")
        first, second = upstream.requests
    assert first.target == "/v1/embeddings?x=1"
    assert json.loads(first.body) == {"model": "m"}
    assert first.value("openai-beta") == b"x=v1"
    assert json.loads(second.body) == {"model": "m", "stream": True}


async def test_no_other_route_is_reached(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = bridged(upstream.url)
        other = {"name": "other", "path": "/v1/other/", "auth": "anonymous", "upstream": "main"}
        gateway = await start_gateway({**config, "routes": [*config["routes"], other]})
        async with bridge_client(gateway.port) as client:
            for tag, path in enumerate(("/v1/other/x", "/elsewhere", "/v1/../x", "/v1/stream")):
                await client.create(tag, path=path)
                (said,) = await client.end_of(tag)
                assert said["status"] in (400, 404), said
        assert upstream.requests == []


# -- dialects --------------------------------------------------------------------------------------


async def test_events_of_anthropic_keep_their_names(start_gateway: StartGateway) -> None:
    events = [
        b'event: message_start\ndata: {"type": "message_start"}\n\n',
        b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n',
    ]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(bridged(upstream.url, upstream={"dialect": "anthropic"}))
        async with bridge_client(gateway.port) as client:
            await client.create("a", headers={"anthropic-version": "2023-06-01"})
            heard = await client.end_of("a")
            await client.say("sing")
            refused = await client.hear()
        assert upstream.requests[0].target == "/v1/messages"
        assert upstream.requests[0].value("anthropic-version") == b"2023-06-01"
    assert heard[1]["event"] == "message_start"
    assert heard[2]["error"] == {"type": "overloaded_error"}
    assert refused["error"]["type"] == "invalid_request_error"


async def test_lines_of_ollama_are_events(start_gateway: StartGateway) -> None:
    lines = [b'{"n": 1}\n{"n"', b": 2}\n", b'{"n": 3}']
    async with ScriptedUpstream(sse_reply(lines, head=NDJSON_HEAD)) as upstream:
        config = bridged(upstream.url, upstream={"dialect": "ollama"})
        config["routes"][0]["path"] = "/api/"
        gateway = await start_gateway(config)
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            heard = await client.end_of("a")
        assert upstream.requests[0].target == "/api/chat"
    assert texts(heard) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert heard[-1]["type"] == "done"


async def test_a_generation_is_translated_like_any_request(start_gateway: StartGateway) -> None:
    line = {"model": "m", "message": {"role": "assistant", "content": "hi"}, "done": False}
    last: dict[str, Any] = {**line, "done": True, "done_reason": "stop"}
    lines = [json.dumps(each).encode() + b"\n" for each in (line, last)]
    async with ScriptedUpstream(sse_reply(lines, head=NDJSON_HEAD)) as upstream:
        config = bridged(upstream.url, upstream={"dialect": "ollama"}, dialect="openai")
        gateway = await start_gateway(config)
        async with bridge_client(gateway.port) as client:
            await client.create(
                "a", body={"model": "m", "messages": [{"role": "user", "content": "hello"}]}
            )
            heard = await client.end_of("a")
        assert upstream.requests[0].target == "/api/chat"
    assert texts(heard)[0]["object"] == "chat.completion.chunk"
    assert heard[-1]["type"] == "done"
