"""SDKs that know nothing of ids read a kept stream as any other."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest

from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import ScriptedUpstream, sse_reply

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
