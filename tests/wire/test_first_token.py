"""Time to first token and time to first byte are two figures: in the log, metrics and traces."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.telemetry.semconv import NAMES
from gateway.telemetry.traces.spans import build
from tests.support.bridge import bridge_client, bridged, carried
from tests.support.client import RawClient, ask, request
from tests.support.gateway import LogLine, StartGateway
from tests.support.metrics import read_until
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    stepped_stream,
)
from tests.wire.test_traces import records, traced

THINKS_S = 0.08
"""Between a backend's first event and its first token."""


def event(document: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(document).encode()


def delta(**members: Any) -> bytes:
    return event({"id": "c", "model": "v", "choices": [{"index": 0, "delta": members}]})


ROLE = delta(role="assistant", content="")
WORD = delta(content="Once")
STOP = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
DONE = b"data: [DONE]\n\n"
ANTHROPIC = [
    event({"type": "message_start", "message": {"id": "a", "model": "v", "usage": {}}}),
    event({"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}),
    event({"type": "ping"}),
    event(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Once"}}
    ),
    event({"type": "message_stop"}),
]
LINES = [
    b'{"model":"v","message":{"role":"assistant","content":""},"done":false}\n',
    b'{"model":"v","message":{"content":"Once"},"done":false}\n',
    b'{"model":"v","message":{"content":""},"done":true,"done_reason":"stop"}\n',
]


def thinks(before: list[bytes], after: list[bytes], head: bytes = STREAM_HEAD) -> Script:
    """Says at once what comes before the first token, and a while later the rest."""

    async def script(connection: UpstreamConnection) -> None:
        while True:
            await connection.read_request()
            await connection.send(head + b"".join(map(chunk, before)))
            await asyncio.sleep(THINKS_S)
            await connection.send(b"".join(map(chunk, after)) + LAST_CHUNK)

    return script


NDJSON = STREAM_HEAD.replace(b"text/event-stream", b"application/x-ndjson")
BACKENDS: dict[str, tuple[list[bytes], list[bytes], bytes]] = {
    "openai": ([ROLE], [WORD, STOP, DONE], STREAM_HEAD),
    "anthropic": (ANTHROPIC[:3], ANTHROPIC[3:], STREAM_HEAD),
    "ollama": (LINES[:1], LINES[1:], NDJSON),
}
"""What comes before the first token, the rest, and the head."""
PATHS = {"openai": "chat/completions", "anthropic": "messages", "ollama": "api/chat"}


def config(url: str, *, caller: str = "openai", backend: str = "openai", **route: Any) -> Any:
    return {
        "upstreams": {"main": {"dialect": backend, "endpoints": [{"url": url}]}},
        "models": {"m": {"upstream": "main"}},
        "routes": [
            {
                "name": "r",
                "path": "/v1/",
                "auth": "anonymous",
                "dialect": caller,
                "models": ["m"],
                **route,
            }
        ],
    }


def chat(caller: str = "openai", *, stream: bool = True) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": "m", "stream": stream, "messages": messages, "max_tokens": 9}
    lines = ["Content-Type: application/json"]
    return request("POST", f"/v1/{PATHS[caller]}", headers=lines, body=json.dumps(body).encode())


async def think(upstream: ScriptedUpstream, client: RawClient, backend: str) -> None:
    """Have a backend think, once its first byte is with the client."""
    before, after, _ = BACKENDS[backend]
    await upstream.release(b"".join(before))
    await client.read_head()
    await client.read_chunk()
    await asyncio.sleep(THINKS_S)
    await upstream.release(b"".join(after))
    await upstream.finish()


def is_access(line: LogLine) -> bool:
    return bool(line["event"] == "request")


def assert_thought(line: LogLine) -> None:
    """The log line tells the first byte and the first token apart."""
    assert line["ttft_ms"] - line["first_byte_ms"] > THINKS_S * 0.8e3
    assert line["ttft_ms"] <= line["duration_ms"]


@pytest.mark.parametrize("resume", [None, {}], ids=["relayed", "kept"])
@pytest.mark.parametrize(
    ("caller", "backend"),
    [
        *((one, one) for one in BACKENDS),
        *(("openai", "anthropic"), ("anthropic", "openai")),
    ],
)
async def test_the_time_to_first_token_is_that_of_the_first_token(
    start_gateway: StartGateway, caller: str, backend: str, resume: Any
) -> None:
    route = {} if resume is None or caller == "ollama" else {"resume": resume}
    async with ScriptedUpstream(stepped_stream(BACKENDS[backend][2])) as upstream:
        gateway = await start_gateway(
            config(upstream.url, caller=caller, backend=backend, **route), **traced()
        )
        async with RawClient(gateway.port) as client:
            await client.send(chat(caller))
            await think(upstream, client, backend)
        line = await gateway.wait_for_log(is_access)
        assert_thought(line)
        (record,) = await records(gateway)
        name = "gen_ai_server_time_to_first_token_seconds"
        samples = await read_until(gateway, lambda samples: samples.value(f"{name}_count") == 1)
    assert samples.value(f"{name}_sum") * 1e3 == pytest.approx(line["ttft_ms"], abs=0.01)
    told = record["first_byte_s"] * 1e3, record["ttft_s"] * 1e3
    assert told == pytest.approx((line["first_byte_ms"], line["ttft_ms"]), abs=0.01)


async def test_spans_tell_the_first_byte_and_the_first_token(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(config(upstream.url), **traced())
        async with RawClient(gateway.port) as client:
            await client.send(chat())
            await think(upstream, client, "openai")
        (record,) = await records(gateway)
    spans = {span.name: span for span in build(record, NAMES["1.44"])}
    call, stream = spans["chat m"].attributes, spans["stream"]
    assert call["gen_ai.response.time_to_first_chunk"] == record["first_byte_s"]
    assert call["gateway.response.time_to_first_token"] == record["ttft_s"]
    assert record["ttft_s"] > record["first_byte_s"] + THINKS_S * 0.8
    assert [one.name for one in stream.events] == ["first_chunk", "first_token"]


async def test_the_first_token_of_a_continued_answer_may_be_another_backends(
    start_gateway: StartGateway,
) -> None:
    async def breaks_off(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD + chunk(ROLE))

    second = thinks([ROLE], [WORD, STOP, DONE])
    async with ScriptedUpstream(breaks_off) as one, ScriptedUpstream(second) as two:
        document = config(one.url)
        document["upstreams"]["main"] |= {
            "endpoints": [{"url": one.url}, {"url": two.url}],
            "continues": "prefill",
            "balance": "round_robin",
        }
        gateway = await start_gateway(document)
        await ask(gateway.port, chat())
        line = await gateway.wait_for_log(is_access)
    assert line["continued"] == 1
    assert_thought(line)


async def test_the_first_token_of_a_bridged_answer(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a", body={"model": "m", "stream": True})
            await upstream.release(ROLE)
            await client.hear_until("event")
            await asyncio.sleep(THINKS_S)
            await upstream.release(WORD + STOP + DONE)
            await upstream.finish()
            await client.end_of("a")
        assert_thought(await gateway.wait_for_log(carried))


async def test_an_answer_in_one_piece_has_its_first_token_at_its_end(
    start_gateway: StartGateway,
) -> None:
    reply = json_reply({"choices": [{"message": {"content": "Once"}}]})
    async with ScriptedUpstream(reply) as upstream:
        gateway = await start_gateway(config(upstream.url))
        await ask(gateway.port, chat(stream=False))
        line = await gateway.wait_for_log(is_access)
    assert line["first_byte_ms"] <= line["ttft_ms"] <= line["duration_ms"]


@pytest.mark.parametrize("status", ["200 OK", "503 Service Unavailable"])
async def test_an_answer_without_a_token_has_no_time_to_first_token(
    start_gateway: StartGateway, status: str
) -> None:
    """An error in place of the answer, with a status or in its stream."""
    told = event({"error": {"message": "out of memory"}})
    reply = json_reply({"error": {}}, status=status)
    if status.startswith("200"):
        reply = thinks([ROLE], [told])
    async with ScriptedUpstream(reply) as upstream:
        gateway = await start_gateway(config(upstream.url))
        await ask(gateway.port, chat())
        line = await gateway.wait_for_log(is_access)
    assert "ttft_ms" not in line
    assert "first_byte_ms" in line
    assert "tokens_in" not in line, "an answer that failed is not estimated"
