"""One generation, whatever the dialect: the same text, as long as allowed, counted, at its pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.demo import DemoBackend
from tests.demo.conftest import (
    ANTHROPIC,
    COMPLETIONS,
    NEVER_S,
    OLLAMA_CHAT,
    OLLAMA_GENERATE,
    OPENAI,
    PROMPT_TOKENS,
    RESPONSES,
    Body,
    StartBackend,
    answer,
    asked,
    chat,
    get,
    post,
    until,
)
from tests.support.client import RawClient
from tests.support.exchange import ask


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer of any dialect comes to."""

    text: str
    read_tokens: int
    written_tokens: int
    end: str


def _openai(document: Any) -> Said:
    (choice,), usage = document["choices"], document["usage"]
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    read, written = usage["prompt_tokens"], usage["completion_tokens"]
    assert usage["total_tokens"] == read + written
    return Said(text, read, written, choice["finish_reason"])


def _response(document: Any) -> Said:
    usage = document["usage"]
    read, written = usage["input_tokens"], usage["output_tokens"]
    assert usage["total_tokens"] == read + written
    return Said(document["output"][0]["content"][0]["text"], read, written, "")


def _anthropic(document: Any) -> Said:
    usage = document["usage"]
    read, written = usage["input_tokens"], usage["output_tokens"]
    return Said(document["content"][0]["text"], read, written, document["stop_reason"])


def _ollama(document: Any) -> Said:
    text = document["response"] if "response" in document else document["message"]["content"]
    read, written = document["prompt_eval_count"], document["eval_count"]
    return Said(text, read, written, document["done_reason"])


READ: dict[str, Callable[[Any], Said]] = {
    OPENAI: _openai,
    COMPLETIONS: _openai,
    RESPONSES: _response,
    ANTHROPIC: _anthropic,
    OLLAMA_CHAT: _ollama,
    OLLAMA_GENERATE: _ollama,
}
everywhere = pytest.mark.parametrize("path", READ)


async def hear(client: httpx.AsyncClient, path: str, body: Body) -> Said:
    return READ[path](await answer(client, path, body))


# -- text --------------------------------------------------------------------------------------


@everywhere
async def test_the_same_prompt_gets_the_same_answer(client: httpx.AsyncClient, path: str) -> None:
    assert await answer(client, path, asked()) == await answer(client, path, asked())


async def test_another_backend_gives_the_same_answer(start_backend: StartBackend) -> None:
    raw = post(OPENAI, chat())
    first, second = [await ask((await start_backend()).port, raw) for _ in range(2)]
    assert first.body == second.body


async def test_the_text_is_the_same_at_any_pace(
    client: httpx.AsyncClient, start_backend: StartBackend
) -> None:
    paced = await start_backend(pace_s=0.001)
    response = await ask(paced.port, post(OPENAI, chat()))
    assert response.json() == await answer(client, OPENAI, chat())


@everywhere
async def test_another_prompt_gets_another_answer(client: httpx.AsyncClient, path: str) -> None:
    first = await hear(client, path, asked("Tell me a story."))
    second = await hear(client, path, asked("Tell me another."))
    assert first.text != second.text


@pytest.mark.parametrize("prompt", ["", "\u65e5\u672c\u8a9e \U0001f600", "word " * 20_000])
async def test_any_prompt_gets_an_answer(client: httpx.AsyncClient, prompt: str) -> None:
    said = await hear(client, OPENAI, asked(prompt))
    assert (bool(said.text), said.end) == (True, "stop")


# -- length and usage --------------------------------------------------------------------------


@everywhere
async def test_usage_counts_the_words_read_and_the_words_written(
    client: httpx.AsyncClient, path: str
) -> None:
    said = await hear(client, path, asked())
    assert said.read_tokens == PROMPT_TOKENS
    assert said.written_tokens == len(said.text.split())


@everywhere
@pytest.mark.parametrize("most", [1, 4])
async def test_an_answer_is_cut_at_the_tokens_allowed(
    client: httpx.AsyncClient, path: str, most: int
) -> None:
    whole = await hear(client, path, asked())
    cut = await hear(client, path, asked(most=most))
    assert cut.text.split() == whole.text.split()[:most]
    assert whole.text.startswith(cut.text)
    assert cut.written_tokens == most


@pytest.mark.parametrize(
    ("path", "cut", "whole"),
    [
        (OPENAI, "length", "stop"),
        (COMPLETIONS, "length", "stop"),
        (ANTHROPIC, "max_tokens", "end_turn"),
        (OLLAMA_CHAT, "length", "stop"),
        (OLLAMA_GENERATE, "length", "stop"),
    ],
)
async def test_an_answer_says_whether_it_was_cut(
    client: httpx.AsyncClient, path: str, cut: str, whole: str
) -> None:
    length = (await hear(client, path, asked())).written_tokens
    ends = [(await hear(client, path, asked(most=length + more))).end for more in (-1, 0, 1)]
    assert ends == [cut, whole, whole]


@pytest.mark.parametrize("path", [OPENAI, COMPLETIONS, RESPONSES, OLLAMA_CHAT, OLLAMA_GENERATE])
async def test_an_answer_is_whole_where_no_length_is_given(
    client: httpx.AsyncClient, path: str
) -> None:
    body = asked()
    for name in ("max_tokens", "max_output_tokens", "options"):
        del body[name]
    assert await hear(client, path, body) == await hear(client, path, asked())


# -- pace --------------------------------------------------------------------------------------


async def test_each_event_leaves_in_a_chunk_of_its_own(backend: DemoBackend) -> None:
    async with RawClient(backend.port) as client:
        await client.send(post(OPENAI, chat(max_tokens=5, stream=True)))
        await client.read_head()
        chunks = []
        while (chunk := await client.read_chunk()) is not None:
            chunks.append(chunk)
    role, *tokens, final, done = chunks
    assert len(tokens) == 5
    assert {chunk.count(b"\n\n") for chunk in (role, *tokens, final, done)} == {1}
    assert all(chunk.endswith(b"\n\n") for chunk in chunks)


async def test_a_stream_begins_before_its_first_token_is_due(start_backend: StartBackend) -> None:
    backend = await start_backend(pace_s=NEVER_S)
    async with RawClient(backend.port) as client:
        await client.send(post(OPENAI, chat(stream=True)))
        assert (await client.read_head()).status == 200
        assert b'"role":"assistant"' in (await client.read_chunk() or b"")
        await ask(backend.port, get("/health"), "GET")  # time for a token that would not wait
        assert (client.unread, backend.stats.active) == (b"", 1)


async def test_an_answer_that_is_not_streamed_waits_for_its_tokens(
    start_backend: StartBackend,
) -> None:
    backend = await start_backend(pace_s=NEVER_S)
    async with RawClient(backend.port) as client:
        await client.send(post(OPENAI, chat()))
        await until(lambda: backend.stats.active == 1)
        await ask(backend.port, get("/health"), "GET")
        assert (client.unread, backend.stats.active) == (b"", 1)


async def test_the_pace_lies_between_two_tokens(start_backend: StartBackend) -> None:
    backend = await start_backend(pace_s=0.02)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await ask(backend.port, post(OPENAI, chat(max_tokens=10)))
    # Only too little time would be wrong; a busy machine takes what it takes.
    assert loop.time() - started > 10 * 0.02 * 0.9
