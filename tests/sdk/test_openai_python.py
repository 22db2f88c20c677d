"""openai-python's asynchronous client, with only base_url and the key changed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionStreamOptionsParam

from tests.sdk.conftest import ANSWER, PROMPT, Door, take_all
from tests.support.waiting import asked_until

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": PROMPT}]
USAGE: ChatCompletionStreamOptionsParam = {"include_usage": True}


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


async def test_a_chat_is_answered(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="demo", messages=HELLO)
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"


async def test_a_stream_says_what_the_whole_answer_says(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="demo", messages=HELLO)
    stream = await client.chat.completions.create(model="demo", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content == ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_stream_tells_its_usage_when_asked(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="demo", messages=HELLO)
    stream = await client.chat.completions.create(
        model="demo", messages=HELLO, stream=True, stream_options=USAGE
    )
    usages = [chunk.usage async for chunk in stream]
    assert usages[-1] is not None
    assert usages[-1] == whole.usage
    assert set(usages[:-1]) == {None}


async def test_an_alias_reaches_the_backend_under_its_own_name(
    client: openai.AsyncOpenAI,
) -> None:
    answer = await client.chat.completions.create(model="llama-3", messages=HELLO)
    assert answer.model == "demo-llama"


async def test_a_completion_is_answered_and_streamed(client: openai.AsyncOpenAI) -> None:
    whole = await client.completions.create(model="demo", prompt=PROMPT)
    stream = await client.completions.create(model="demo", prompt=PROMPT, stream=True)
    text = "".join([chunk.choices[0].text async for chunk in stream])
    assert text == whole.choices[0].text == ANSWER


async def test_texts_become_embeddings(client: openai.AsyncOpenAI) -> None:
    vectors = await client.embeddings.create(model="demo-embedding", input=["a", "b"])
    first, second = (entry.embedding for entry in vectors.data)
    assert len(first) == len(second) == 64
    assert first != second


async def test_a_response_is_answered_and_streamed(client: openai.AsyncOpenAI) -> None:
    whole = await client.responses.create(model="demo", input=PROMPT)
    stream = await client.responses.create(model="demo", input=PROMPT, stream=True)
    events = [event async for event in stream]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text == ANSWER
    assert events[-1].type == "response.completed"


async def test_a_transcription_is_routed_by_its_form_field(client: openai.AsyncOpenAI) -> None:
    answer = await client.audio.transcriptions.create(
        model="demo-whisper", file=("hello.wav", b"RIFF" * 5000)
    )
    assert answer.text == "demo-whisper heard 20000 bytes of hello.wav."


async def test_a_transcript_comes_in_parts(client: openai.AsyncOpenAI) -> None:
    stream = await client.audio.transcriptions.create(
        model="demo-whisper", file=("speech.wav", b"RIFF" * 10), stream=True
    )
    *deltas, done = [event async for event in stream]
    assert done.type == "transcript.text.done"
    assert len(deltas) > 3
    assert "".join(one.delta for one in deltas if one.type == "transcript.text.delta") == done.text
    assert done.usage is not None


async def test_an_image_comes_with_previews(client: openai.AsyncOpenAI) -> None:
    stream = await client.images.generate(
        model="demo-image", prompt="a boat", stream=True, partial_images=2
    )
    *previews, done = [event async for event in stream]
    indexes = [
        one.partial_image_index for one in previews if one.type == "image_generation.partial_image"
    ]
    assert indexes == [0, 1]
    assert done.type == "image_generation.completed"
    assert done.b64_json != previews[0].b64_json


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
    with pytest.raises(openai.InternalServerError, match="failed on purpose") as caught:
        await client.chat.completions.create(model="demo-error", messages=HELLO)
    assert caught.value.status_code == 500


async def test_a_chat_that_breaks_off_raises(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="demo-reset", messages=HELLO, stream=True)
    heard: list[object] = []
    with pytest.raises(openai.APIError) as caught:
        await take_all(stream, heard)
    assert heard
    assert caught.value.code == "upstream_reset"


async def test_a_response_that_breaks_off_raises(client: openai.AsyncOpenAI) -> None:
    stream = await client.responses.create(model="demo-reset", input=PROMPT, stream=True)
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
        extra_headers={"x-demo-fault": "stall@2"},  # it would never end by itself
    )
    await anext(aiter(stream))
    await stream.close()
    await door.generation_aborted()
    line = await door.gateway.wait_for_log(lambda line: line["event"] == "request")
    assert line["end"] == "client_abort"


async def test_comments_in_a_stream_are_nothing_to_it(door: Door) -> None:
    async with connect(door, path="/slow/v1") as client:

        async def read() -> bytes:
            async with client.chat.completions.with_streaming_response.create(
                model="demo-slow", messages=HELLO, stream=True
            ) as raw:
                return await raw.read()

        # A busy machine lets the silence pass without a heartbeat now and then.
        await asked_until(read, lambda body: b": heartbeat\n" in body)
        stream = await client.chat.completions.create(
            model="demo-slow", messages=HELLO, stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER


async def test_an_error_after_an_early_head_is_raised(door: Door) -> None:
    async with connect(door, path="/slow/v1") as client:
        stream = await client.chat.completions.create(
            model="demo-hang", messages=HELLO, stream=True
        )
        with pytest.raises(openai.APIError, match="did not begin its answer in time") as caught:
            await take_all(stream, [])
    assert caught.value.code == "upstream_first_byte_timeout"
