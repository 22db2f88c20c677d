"""ollama-python, with only the host and a header changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest

from tests.sdk.conftest import ANSWER, PROMPT, Door, take_all

HELLO = [{"role": "user", "content": PROMPT}]
MODELS = ["demo-ollama", "ollama-reset"]


def options(door: Door, *, token: str | None = None) -> dict[str, Any]:
    return {
        "host": door.url,
        "headers": {"Authorization": f"Bearer {token or door.token}"},
        "verify": door.verify,
    }


@pytest.fixture
async def client(door: Door) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(**options(door)) as client:
        yield client


async def test_a_stream_says_what_the_whole_answer_says(client: ollama.AsyncClient) -> None:
    whole = await client.chat(model="demo-ollama", messages=HELLO)
    stream = await client.chat(model="demo-ollama", messages=HELLO, stream=True)
    pieces = [piece async for piece in stream]
    text = "".join(piece.message.content or "" for piece in pieces)
    assert text == whole.message.content == ANSWER
    assert [piece.done for piece in pieces].index(True) == len(pieces) - 1


async def test_a_prompt_is_continued_whole_and_streamed(client: ollama.AsyncClient) -> None:
    whole = await client.generate(model="demo-ollama", prompt=PROMPT)
    stream = await client.generate(model="demo-ollama", prompt=PROMPT, stream=True)
    text = "".join([piece.response or "" async for piece in stream])
    assert text == whole.response == ANSWER


async def test_texts_become_embeddings(client: ollama.AsyncClient) -> None:
    answer = await client.embed(model="demo-ollama", input=["a", "b"])
    assert [len(vector) for vector in answer.embeddings] == [64, 64]


async def test_the_list_of_models_is_the_routes(client: ollama.AsyncClient) -> None:
    listed = await client.list()
    assert [model.model for model in listed.models] == MODELS


async def test_the_synchronous_client_does_the_same(door: Door) -> None:
    def run() -> tuple[list[str | None], list[str | None]]:
        with ollama.Client(**options(door)) as client:
            whole = client.chat(model="demo-ollama", messages=HELLO)
            stream = client.chat(model="demo-ollama", messages=HELLO, stream=True)
            text = "".join(piece.message.content or "" for piece in stream)
            continued = client.generate(model="demo-ollama", prompt=PROMPT)
            models = [model.model for model in client.list().models]
            return [whole.message.content, text, continued.response], models

    assert await asyncio.to_thread(run) == ([ANSWER] * 3, MODELS)


async def test_an_unknown_model_is_a_response_error(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        await client.chat(model="llama-9", messages=HELLO)
    assert caught.value.status_code == 404


async def test_a_bad_token_is_a_response_error(door: Door) -> None:
    async with ollama.AsyncClient(**options(door, token="not.a.token")) as client:
        with pytest.raises(ollama.ResponseError) as caught:
            await client.chat(model="demo-ollama", messages=HELLO)
    assert caught.value.status_code == 401


async def test_a_stream_that_breaks_off_raises(client: ollama.AsyncClient) -> None:
    stream = await client.chat(model="ollama-reset", messages=HELLO, stream=True)
    heard: list[object] = []
    with pytest.raises(ollama.ResponseError, match="closed the connection"):
        await take_all(stream, heard)
    assert heard
