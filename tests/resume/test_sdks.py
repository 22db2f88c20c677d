"""SDKs that know nothing of ids read a kept stream as any other."""

from __future__ import annotations

import asyncio
import json

import anthropic
import openai
import pytest

from tests.resume.streams import EVENTS, ask, follow, payload, post
from tests.support.client import RawClient
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    sse_reply,
    stepped_stream,
)

WORDS = ["Good", " ", "morning", "!"]
NOISE = [b": working\n\n", b"\n", b": still\n\n\n"]
"""What backends put between events, and what is nothing to a client."""


def chat() -> list[bytes]:
    """A chat completion in OpenAI's chunks."""
    chunks = [
        {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}],
        }
        for word in WORDS
    ]
    events = [b"data: %b\n\n" % json.dumps(one).encode() for one in chunks]
    return [*NOISE, *(part for event in events for part in (event, *NOISE)), b"data: [DONE]\n\n"]


def message() -> list[bytes]:
    """A message in Anthropic's events."""
    start: dict[str, object] = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    documents: list[dict[str, object]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": word},
            }
            for word in WORDS
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_stop"},
    ]
    events = [
        f"event: {one['type']}\r\ndata: {json.dumps(one)}\r\n\r\n".encode() for one in documents
    ]
    return [part for event in events for part in (event, *NOISE)]


@pytest.mark.parametrize("repeated", [False, True])
async def test_openais(start_gateway: StartGateway, repeated: bool) -> None:
    async with ScriptedUpstream(sse_reply(chat())) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        async with openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key="none", max_retries=0
        ) as client:
            for _ in range(1 + repeated):
                stream = await client.chat.completions.create(
                    model="m",
                    messages=[{"role": "user", "content": "Hello"}],
                    stream=True,
                    extra_headers={"Idempotency-Key": "k1"},
                )
                words = [chunk.choices[0].delta.content async for chunk in stream]
                assert words == WORDS
        assert len(upstream.requests) == 1


async def test_anthropics(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(message())) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"dialect": "anthropic"}, resume={})
        )
        async with (
            anthropic.AsyncAnthropic(base_url=gateway.url, api_key="none", max_retries=0) as client,
            client.messages.stream(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "Hello"}]
            ) as stream,
        ):
            assert [text async for text in stream.text_stream] == WORDS


async def test_openais_is_not_disturbed_by_heartbeats(start_gateway: StartGateway) -> None:
    events = [event for event in chat() if event.startswith(b"data")]
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={}, heartbeat="20ms"),
        )
        async with openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key="none", max_retries=0
        ) as client:
            asking = asyncio.create_task(
                client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "Hello"}], stream=True
                )
            )
            words = []
            await upstream.release(events[0])
            async for chunk in await asking:
                words.append(chunk.choices[0].delta.content)
                await asyncio.sleep(0.1)  # long enough for some heartbeats
                await upstream.release(events[len(words)])
            assert words == WORDS
            await upstream.finish()


@pytest.mark.parametrize("kept", [True, False])
async def test_a_stream_that_was_opened_early_says_which_it_is_and_is_kept(
    start_gateway: StartGateway, kept: bool
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={} if kept else None, heartbeat="30ms"),
        )
        async with RawClient(gateway.port) as client:
            await client.send(post())
            backend = await upstream.accept()
            await backend.read_request()
            head = await client.read_head()  # before there is an answer
            assert (head.value("x-stream-id") is not None) == kept
            await backend.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
            read = b""
            while (data := await client.read_chunk()) is not None:
                read += data
        if kept:
            stream = (head.value("x-stream-id") or b"").decode()
            again = await ask(gateway, follow(stream))
            assert payload(again.body) == EVENTS[:1]
            assert again.body in read
