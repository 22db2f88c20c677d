"""ollama-python, with only the host and a header changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest

from tests.sdk.conftest import Door, take_all

HELLO = [{"role": "user", "content": "Hello there"}]


def options(door: Door) -> dict[str, Any]:
    return {
        "host": door.url,
        "headers": {"Authorization": f"Bearer {door.token}"},
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
    assert whole.message.content
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert [piece.done for piece in pieces].index(True) == len(pieces) - 1


async def test_a_prompt_is_continued(client: ollama.AsyncClient) -> None:
    answer = await client.generate(model="demo-ollama", prompt="Hello")
    assert answer.response


async def test_the_synchronous_client_streams(door: Door) -> None:
    def run() -> str:
        with ollama.Client(**options(door)) as client:
            stream = client.chat(model="demo-ollama", messages=HELLO, stream=True)
            return "".join(piece.message.content or "" for piece in stream)

    assert await asyncio.to_thread(run)


async def test_the_list_of_models_is_the_routes(client: ollama.AsyncClient) -> None:
    listed = await client.list()
    assert [model.model for model in listed.models] == ["demo-ollama", "ollama-reset"]


async def test_an_unknown_model_is_a_response_error(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        await client.chat(model="llama-9", messages=HELLO)
    assert caught.value.status_code == 404


async def test_a_stream_that_breaks_off_raises(client: ollama.AsyncClient) -> None:
    stream = await client.chat(model="ollama-reset", messages=HELLO, stream=True)
    heard: list[object] = []
    with pytest.raises(ollama.ResponseError, match="closed the connection"):
        await take_all(stream, heard)
    assert heard
