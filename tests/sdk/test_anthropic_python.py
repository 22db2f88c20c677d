"""anthropic-python, with only base_url and the token changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anthropic
import pytest
from anthropic.types import MessageParam, TextBlock

from tests.sdk.conftest import Door, take_all

HELLO: list[MessageParam] = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
async def client(door: Door) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=door.url,
        auth_token=door.token,
        http_client=anthropic.DefaultAsyncHttpxClient(verify=door.verify),
        max_retries=0,
    ) as client:
        yield client


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


async def test_a_message_is_answered(client: anthropic.AsyncAnthropic) -> None:
    message = await client.messages.create(model="demo-claude", max_tokens=100, messages=HELLO)
    assert text_of(message)
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0


async def test_a_stream_says_what_the_whole_answer_says(client: anthropic.AsyncAnthropic) -> None:
    whole = await client.messages.create(model="demo-claude", max_tokens=100, messages=HELLO)
    async with client.messages.stream(
        model="demo-claude", max_tokens=100, messages=HELLO
    ) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == text_of(whole)
    assert final.usage.output_tokens == whole.usage.output_tokens


async def test_the_synchronous_client_streams(door: Door) -> None:
    def run() -> str:
        with (
            anthropic.Anthropic(
                base_url=door.url,
                auth_token=door.token,
                http_client=anthropic.DefaultHttpxClient(verify=door.verify),
                max_retries=0,
            ) as client,
            client.messages.stream(model="demo-claude", max_tokens=100, messages=HELLO) as stream,
        ):
            return "".join(stream.text_stream)

    assert await asyncio.to_thread(run)


async def test_an_unknown_model_is_a_not_found_error(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        await client.messages.create(model="claude-9", max_tokens=1, messages=HELLO)
    assert caught.value.type == "not_found_error"


async def test_a_stream_that_breaks_off_raises(client: anthropic.AsyncAnthropic) -> None:
    heard: list[object] = []
    async with client.messages.stream(
        model="claude-reset", max_tokens=100, messages=HELLO
    ) as stream:
        with pytest.raises(anthropic.APIStatusError, match="closed the connection"):
            await take_all(stream.text_stream, heard)
    assert heard


async def test_a_bad_token_is_an_authentication_error(door: Door) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=door.url,
        auth_token="not.a.token",
        http_client=anthropic.DefaultAsyncHttpxClient(verify=door.verify),
        max_retries=0,
    ) as client:
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.create(model="demo-claude", max_tokens=1, messages=HELLO)
