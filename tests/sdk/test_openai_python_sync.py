"""openai-python's synchronous client. It runs in a thread: the gateway has the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.sdk.conftest import ANSWER, PROMPT, Door

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": PROMPT}]

Result = TypeVar("Result")


async def use(
    door: Door,
    task: Callable[[openai.OpenAI], Result],
    *,
    token: str | None = None,
    path: str = "/v1",
) -> Result:
    """What the task makes of a client."""

    def run() -> Result:
        with openai.OpenAI(
            base_url=door.url + path,
            api_key=token or door.token,
            http_client=openai.DefaultHttpxClient(verify=door.verify),
            max_retries=0,
        ) as client:
            return task(client)

    return await asyncio.to_thread(run)


async def test_a_stream_says_what_the_whole_answer_says(door: Door) -> None:
    def task(client: openai.OpenAI) -> tuple[str | None, str]:
        whole = client.chat.completions.create(model="demo", messages=HELLO)
        stream = client.chat.completions.create(model="demo", messages=HELLO, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        return whole.choices[0].message.content, text

    assert await use(door, task) == (ANSWER, ANSWER)


async def test_completions_and_embeddings_are_answered(door: Door) -> None:
    def task(client: openai.OpenAI) -> tuple[str, int]:
        completion = client.completions.create(model="demo", prompt=PROMPT)
        vectors = client.embeddings.create(model="demo-embedding", input=["a", "b"])
        return completion.choices[0].text, len(vectors.data)

    assert await use(door, task) == (ANSWER, 2)


async def test_the_list_of_models_is_the_routes(door: Door) -> None:
    names = await use(door, lambda client: [model.id for model in client.models.list()])
    assert "llama-3" in names
    assert "demo-claude" not in names


async def test_an_unknown_model_is_a_not_found_error(door: Door) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await use(
            door, lambda client: client.chat.completions.create(model="gpt-9", messages=HELLO)
        )
    assert caught.value.code == "model_not_found"


async def test_a_bad_token_is_an_authentication_error(door: Door) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        await use(door, lambda client: client.models.list(), token="not.a.token")
    assert caught.value.code == "invalid_api_key"


async def test_a_spent_limit_is_a_rate_limit_error(door: Door) -> None:
    answered: list[object] = []

    def task(client: openai.OpenAI) -> None:
        for _ in range(3):
            answered.append(client.models.list())

    with pytest.raises(openai.RateLimitError) as caught:
        await use(door, task, path="/limited/v1")
    assert len(answered) == 2
    assert caught.value.code == "rate_limit_exceeded"


async def test_a_stream_that_breaks_off_raises(door: Door) -> None:
    heard: list[object] = []

    def task(client: openai.OpenAI) -> None:
        heard.extend(
            client.chat.completions.create(model="demo-reset", messages=HELLO, stream=True)
        )

    with pytest.raises(openai.APIError) as caught:
        await use(door, task)
    assert heard
    assert caught.value.code == "upstream_reset"
