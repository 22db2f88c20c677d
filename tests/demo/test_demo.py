"""The demo backend, over a socket: what it answers, and how it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.demo import DemoBackend
from gateway.demo.text import count_tokens

HELLO = [{"role": "user", "content": "Tell me a story"}]
OPENAI, ANTHROPIC, OLLAMA = "/v1/chat/completions", "/v1/messages", "/api/chat"


@pytest.fixture
async def backend() -> AsyncIterator[DemoBackend]:
    backend = DemoBackend(pace_s=0.0)
    await backend.start()
    yield backend
    await backend.stop()


@pytest.fixture
async def client(backend: DemoBackend) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=backend.url, trust_env=False, timeout=httpx.Timeout(5.0, read=1.0)
    ) as client:
        yield client


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": HELLO, "max_tokens": 1000, **fields}


def sse(text: str) -> list[dict[str, Any]]:
    """The data of each event, the last `[DONE]` left out."""
    events = [event.rpartition("data: ")[2] for event in text.strip().split("\n\n")]
    return [json.loads(event) for event in events if event != "[DONE]"]


# -- OpenAI ------------------------------------------------------------------------------------


async def test_an_openai_stream_is_the_whole_answer_in_pieces(client: httpx.AsyncClient) -> None:
    whole = (await client.post(OPENAI, json=body())).json()
    asked = body(stream=True, stream_options={"include_usage": True})
    response = await client.post(OPENAI, json=asked)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")
    *chunks, last = sse(response.text)
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert (last["choices"], last["usage"]) == ([], whole["usage"])


async def test_usage_counts_what_was_read_and_written(client: httpx.AsyncClient) -> None:
    answer = (await client.post(OPENAI, json=body())).json()
    usage = answer["usage"]
    assert usage["prompt_tokens"] == count_tokens(HELLO[0]["content"])
    assert usage["completion_tokens"] == count_tokens(answer["choices"][0]["message"]["content"])
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_the_same_prompt_gets_the_same_answer_and_another_another(
    client: httpx.AsyncClient,
) -> None:
    first, again = [(await client.post(OPENAI, json=body())).content for _ in range(2)]
    other = await client.post(
        OPENAI, json=body(messages=[{"role": "user", "content": "Something else"}])
    )
    assert first == again
    assert other.json()["choices"] != json.loads(first)["choices"]


async def test_max_tokens_cuts_the_answer(client: httpx.AsyncClient) -> None:
    answer = (await client.post(OPENAI, json=body(max_tokens=2))).json()
    assert answer["usage"]["completion_tokens"] == 2
    assert answer["choices"][0]["finish_reason"] == "length"


async def test_a_tool_that_is_asked_for_is_called(client: httpx.AsyncClient) -> None:
    asked = body(
        messages=[{"role": "user", "content": "call get_weather"}],
        tools=[{"type": "function", "function": {"name": "get_weather"}}],
    )
    choice = (await client.post(OPENAI, json=asked)).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


async def test_embeddings_are_one_vector_for_each_text(client: httpx.AsyncClient) -> None:
    asked = {"model": "demo-embedding", "input": ["a", "b", "a"], "dimensions": 8}
    answer = (await client.post("/v1/embeddings", json=asked)).json()
    first, second, third = [item["embedding"] for item in answer["data"]]
    assert len(first) == 8
    assert first == third != second


# -- Anthropic and Ollama ----------------------------------------------------------------------


async def test_an_anthropic_stream_has_its_events_in_order(client: httpx.AsyncClient) -> None:
    whole = (await client.post(ANTHROPIC, json=body())).json()
    events = sse((await client.post(ANTHROPIC, json=body(stream=True))).text)
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    deltas = kinds.count("content_block_delta")
    assert kinds == [
        *("message_start", "content_block_start", *["content_block_delta"] * deltas),
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    text = "".join(event["delta"]["text"] for event in events if "text" in event.get("delta", {}))
    assert text == whole["content"][0]["text"]
    final = next(event for event in events if event["type"] == "message_delta")
    assert final["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


async def test_an_ollama_stream_is_one_object_a_line(client: httpx.AsyncClient) -> None:
    whole = (await client.post(OLLAMA, json=body(stream=False))).json()
    response = await client.post(OLLAMA, json=body())
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == whole["message"]["content"]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1]["eval_count"] == whole["eval_count"]


async def test_ollama_generates_and_lists(client: httpx.AsyncClient) -> None:
    asked = {"model": "demo", "prompt": "Hello", "stream": False}
    assert (await client.post("/api/generate", json=asked)).json()["response"]
    assert (await client.get("/api/tags")).json()["models"]


# -- bad requests ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize("content", [b"{", b"[]", b'{"messages": []}', b'{"model": "m"}'])
async def test_a_bad_body_is_400_in_the_dialects_shape(
    client: httpx.AsyncClient, path: str, content: bytes
) -> None:
    response = await client.post(path, content=content)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


# -- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, OLLAMA])
@pytest.mark.parametrize(("fault", "status"), [("error", 500), ("overloaded", 429)])
async def test_an_error_on_purpose_is_in_the_dialects_shape(
    client: httpx.AsyncClient, path: str, fault: str, status: int
) -> None:
    response = await client.post(path, json=body(), headers={"x-demo-fault": fault})
    assert response.status_code == status
    assert response.json()["error"]
    assert ("retry-after" in response.headers) == (status == 429)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("refuse", httpx.ReadError),
        ("hang", httpx.ReadTimeout),
        ("garbage", httpx.RemoteProtocolError),
    ],
)
async def test_no_answer_on_purpose(
    client: httpx.AsyncClient, fault: str, expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        await client.post(OPENAI, json=body(), headers={"x-demo-fault": fault})


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("reset", httpx.ReadError),
        ("truncate", httpx.RemoteProtocolError),
        ("stall", httpx.ReadTimeout),
    ],
)
async def test_a_stream_breaks_after_as_many_tokens_as_asked(
    client: httpx.AsyncClient, fault: str, expected: type[Exception]
) -> None:
    asked = body(model=f"demo-{fault}@4", stream=True)
    heard: list[str] = []
    with pytest.raises(expected):
        await _hear(client, asked, heard)
    tokens = [chunk["choices"][0]["delta"].get("content") for chunk in sse("".join(heard))]
    assert len([token for token in tokens if token]) == 4


async def _hear(client: httpx.AsyncClient, asked: dict[str, Any], heard: list[str]) -> None:
    async with client.stream("POST", OPENAI, json=asked) as response:
        async for piece in response.aiter_text():
            heard.append(piece)


async def test_a_reader_who_leaves_stops_the_generation(
    client: httpx.AsyncClient, backend: DemoBackend
) -> None:
    asked = body(stream=True)
    async with client.stream(
        "POST", OPENAI, json=asked, headers={"x-demo-fault": "stall@1"}
    ) as response:
        async for _ in response.aiter_text():
            break
        assert backend.stats.active == 1
    async with asyncio.timeout(5):
        while (await client.get("/demo/stats")).json()["active"]:
            pass
    assert backend.stats.aborted == 1


async def test_it_says_that_it_is_there(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json() == {"status": "ok"}
