"""openai-python, synchronous and asynchronous, with only base_url and the key changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionStreamOptionsParam

from tests.sdk.conftest import Door, take_all

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello there"}]
USAGE: ChatCompletionStreamOptionsParam = {"include_usage": True}

Result = TypeVar("Result")


def connect(door: Door, *, token: str | None = None, path: str = "/v1") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=door.url + path,
        api_key=token or door.token,
        http_client=openai.DefaultAsyncHttpxClient(verify=door.verify),
        max_retries=0,
    )


@pytest.fixture
async def client(door: Door) -> AsyncIterator[openai.AsyncOpenAI]:
    async with connect(door) as client:
        yield client


async def synchronously(door: Door, use: Callable[[openai.OpenAI], Result]) -> Result:
    """The result of using the synchronous client, in a thread: the gateway needs this one."""

    def run() -> Result:
        with openai.OpenAI(
            base_url=door.url + "/v1",
            api_key=door.token,
            http_client=openai.DefaultHttpxClient(verify=door.verify),
            max_retries=0,
        ) as client:
            return use(client)

    return await asyncio.to_thread(run)


async def test_a_chat_is_answered(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="demo", messages=HELLO)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0


async def test_a_stream_says_what_the_whole_answer_says(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="demo", messages=HELLO)
    stream = await client.chat.completions.create(
        model="demo", messages=HELLO, stream=True, stream_options=USAGE
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


async def test_the_synchronous_client_streams_and_answers(door: Door) -> None:
    def use(client: openai.OpenAI) -> tuple[str | None, str]:
        whole = client.chat.completions.create(model="demo", messages=HELLO)
        stream = client.chat.completions.create(model="demo", messages=HELLO, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        return whole.choices[0].message.content, text

    whole, streamed = await synchronously(door, use)
    assert whole
    assert streamed == whole


async def test_an_alias_reaches_the_backend_under_its_own_name(
    client: openai.AsyncOpenAI,
) -> None:
    answer = await client.chat.completions.create(model="llama-3", messages=HELLO)
    assert answer.model == "demo-llama"


async def test_completions_responses_and_embeddings_pass(client: openai.AsyncOpenAI) -> None:
    completion = await client.completions.create(model="demo", prompt="Hello")
    assert completion.choices[0].text
    response = await client.responses.create(model="demo", input="Hello")
    assert response.output_text
    vectors = await client.embeddings.create(model="demo-embedding", input=["a", "b"])
    assert len(vectors.data) == 2


async def test_responses_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.responses.create(model="demo", input="Hello", stream=True)
    kinds = [event.type async for event in stream]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


async def test_a_transcription_is_routed_by_its_form_field(client: openai.AsyncOpenAI) -> None:
    answer = await client.audio.transcriptions.create(
        model="demo-whisper", file=("hello.wav", b"RIFF" * 5000)
    )
    assert answer.text == "demo-whisper heard 20000 bytes of hello.wav."


async def test_the_list_of_models_is_the_routes(client: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert "llama-3" in names
    assert "demo-claude" not in names
    assert (await client.models.retrieve("llama-3")).id == "llama-3"


async def test_an_unknown_model_is_a_not_found_error(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert caught.value.request_id


async def test_a_bad_token_is_an_authentication_error(door: Door) -> None:
    async with connect(door, token="not.a.token") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.models.list()
    assert caught.value.code == "invalid_api_key"


async def test_a_spent_limit_is_a_rate_limit_error(door: Door) -> None:
    async with connect(door, path="/limited/v1") as client:
        for _ in range(2):
            await client.models.list()
        with pytest.raises(openai.RateLimitError) as caught:
            await client.models.list()
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) > 1000


async def test_the_backends_error_passes_as_it_is(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="demo-error", messages=HELLO)
    assert caught.value.status_code == 500


async def test_a_stream_that_breaks_off_raises(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="demo-reset", messages=HELLO, stream=True)
    heard: list[object] = []
    with pytest.raises(openai.APIError) as caught:
        await take_all(stream, heard)
    assert heard
    assert caught.value.code == "upstream_reset"


async def test_leaving_a_stream_stops_the_generation(
    client: openai.AsyncOpenAI, door: Door
) -> None:
    stream = await client.chat.completions.create(
        model="demo",
        messages=HELLO,
        stream=True,
        extra_headers={"x-demo-fault": "stall@2"},
    )
    async for _ in stream:
        break
    await stream.close()
    line = await door.gateway.wait_for_log(lambda line: line["event"] == "request")
    assert line["end"] == "client_abort"
