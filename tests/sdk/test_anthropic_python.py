"""anthropic-python, with only base_url and the key changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anthropic
import pytest
from anthropic.types import MessageParam, TextBlock

from tests.sdk.conftest import ANSWER, PROMPT, Door, take_all

HELLO: list[MessageParam] = [{"role": "user", "content": PROMPT}]


def connect(door: Door, *, key: str | None = None, path: str = "") -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=door.url + path,
        api_key=key or door.token,
        http_client=anthropic.DefaultAsyncHttpxClient(verify=door.verify),
        max_retries=0,
    )


@pytest.fixture
async def client(door: Door) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with connect(door) as client:
        yield client


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


async def test_a_message_is_answered(client: anthropic.AsyncAnthropic) -> None:
    message = await client.messages.create(model="demo-claude", max_tokens=100, messages=HELLO)
    assert text_of(message) == ANSWER
    assert message.stop_reason == "end_turn"


async def test_a_stream_says_what_the_whole_answer_says(client: anthropic.AsyncAnthropic) -> None:
    whole = await client.messages.create(model="demo-claude", max_tokens=100, messages=HELLO)
    async with client.messages.stream(
        model="demo-claude", max_tokens=100, messages=HELLO
    ) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == text_of(whole) == ANSWER
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == whole.usage.output_tokens


async def test_the_synchronous_client_answers_and_streams_with_an_auth_token(door: Door) -> None:
    def run() -> tuple[str, str]:
        with anthropic.Anthropic(
            base_url=door.url,
            auth_token=door.token,
            http_client=anthropic.DefaultHttpxClient(verify=door.verify),
            max_retries=0,
        ) as client:
            whole = client.messages.create(model="demo-claude", max_tokens=100, messages=HELLO)
            with client.messages.stream(
                model="demo-claude", max_tokens=100, messages=HELLO
            ) as stream:
                return text_of(whole), "".join(stream.text_stream)

    assert await asyncio.to_thread(run) == (ANSWER, ANSWER)


async def test_tokens_are_counted(client: anthropic.AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model="demo-claude", messages=HELLO)
    assert counted.input_tokens == len(PROMPT.split())


async def test_an_unknown_model_is_a_not_found_error(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        await client.messages.create(model="claude-9", max_tokens=1, messages=HELLO)
    assert caught.value.type == "not_found_error"


async def test_a_bad_key_is_an_authentication_error(door: Door) -> None:
    async with connect(door, key="not.a.token") as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.messages.create(model="demo-claude", max_tokens=1, messages=HELLO)
    assert caught.value.type == "authentication_error"


async def test_a_spent_limit_is_a_rate_limit_error(door: Door) -> None:
    async with connect(door, path="/limited/anthropic") as client:
        for _ in range(2):
            await client.messages.create(model="demo-claude", max_tokens=1, messages=HELLO)
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(model="demo-claude", max_tokens=1, messages=HELLO)
    assert caught.value.type == "rate_limit_error"


async def test_a_stream_that_breaks_off_raises(client: anthropic.AsyncAnthropic) -> None:
    heard: list[object] = []
    async with client.messages.stream(
        model="claude-reset", max_tokens=100, messages=HELLO
    ) as stream:
        with pytest.raises(anthropic.APIStatusError, match="closed the connection"):
            await take_all(stream.text_stream, heard)
    assert heard


async def test_comments_in_a_stream_are_nothing_to_it(door: Door) -> None:
    async with (
        connect(door, path="/slow/anthropic") as client,
        client.messages.stream(model="claude-slow", max_tokens=100, messages=HELLO) as stream,
    ):
        text = "".join([piece async for piece in stream.text_stream])
    assert text == ANSWER


async def test_an_error_after_an_early_head_is_raised(door: Door) -> None:
    async with connect(door, path="/slow/anthropic") as client:
        with pytest.raises(anthropic.APIStatusError, match="did not begin its answer in time"):
            async with client.messages.stream(
                model="claude-hang", max_tokens=100, messages=HELLO
            ) as stream:
                await take_all(stream.text_stream, [])
