"""What the demo backend answers as OpenAI."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import httpx
import jsonschema
import pytest

from tests.demo.conftest import (
    COMPLETIONS,
    MANY,
    OPENAI,
    PLAN_TRIP,
    PROMPT,
    PROMPT_TOKENS,
    RESPONSES,
    TRIP,
    Body,
    Event,
    answer,
    chat,
    events,
)

TRANSCRIPTIONS = "/v1/audio/transcriptions"
EMBEDDINGS = "/v1/embeddings"
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
USAGE = {"include_usage": True}


def completion(**fields: Any) -> Body:
    return {"model": "demo", "prompt": PROMPT, "max_tokens": MANY, **fields}


def response_request(**fields: Any) -> Body:
    return {"model": "demo", "input": PROMPT, "max_output_tokens": MANY, **fields}


def embedding(**fields: Any) -> Body:
    return {"model": "demo-embedding", "input": PROMPT, **fields}


def tool_chat(**fields: Any) -> Body:
    messages = [{"role": "user", "content": "Please call get_weather"}]
    return chat(messages=messages, tools=[WEATHER], **fields)


def trip(**fields: Any) -> Body:
    messages = [{"role": "user", "content": "Please plan_trip"}]
    return chat(messages=messages, tools=[PLAN_TRIP], **fields)


def text_of(chunks: list[Event]) -> str:
    return "".join(c.data["choices"][0]["delta"].get("content") or "" for c in chunks)


# -- chat --------------------------------------------------------------------------------------


async def test_a_chat_is_answered_with_one_assistant_message(client: httpx.AsyncClient) -> None:
    document = await answer(client, OPENAI, chat())
    assert (document["object"], document["model"]) == ("chat.completion", "demo")
    (choice,) = document["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


async def test_the_model_in_the_answer_is_the_one_asked_for(client: httpx.AsyncClient) -> None:
    assert (await answer(client, OPENAI, chat(model="demo-llama")))["model"] == "demo-llama"


async def test_content_in_parts_is_read_as_its_texts(client: httpx.AsyncClient) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    parts = [{"type": "text", "text": PROMPT}, image]
    in_parts = await answer(client, OPENAI, chat(messages=[{"role": "user", "content": parts}]))
    assert in_parts == await answer(client, OPENAI, chat())


async def test_a_streamed_chat_begins_with_the_role(client: httpx.AsyncClient) -> None:
    first, *_ = await events(client, OPENAI, chat(stream=True))
    assert first.data["choices"][0]["delta"] == {"role": "assistant", "content": ""}


async def test_every_chunk_of_a_streamed_chat_is_unnamed_and_of_one_completion(
    client: httpx.AsyncClient,
) -> None:
    *chunks, _ = await events(client, OPENAI, chat(stream=True))
    heads = {(c.name, c.data["id"], c.data["object"], c.data["model"]) for c in chunks}
    assert heads == {(None, "chatcmpl-demo", "chat.completion.chunk", "demo")}


async def test_a_streamed_chat_ends_with_the_finish_reason_and_done(
    client: httpx.AsyncClient,
) -> None:
    *chunks, final, done = await events(client, OPENAI, chat(stream=True))
    assert {c.data["choices"][0]["finish_reason"] for c in chunks} == {None}
    assert final.data["choices"][0]["delta"] == {}
    assert final.data["choices"][0]["finish_reason"] == "stop"
    assert done.data == "[DONE]"


async def test_a_streamed_chat_says_what_the_whole_one_says(client: httpx.AsyncClient) -> None:
    whole = await answer(client, OPENAI, chat())
    *chunks, _ = await events(client, OPENAI, chat(stream=True))
    assert text_of(chunks) == whole["choices"][0]["message"]["content"]


async def test_a_streamed_chat_sends_each_token_in_a_chunk_of_its_own(
    client: httpx.AsyncClient,
) -> None:
    _, *tokens, _, _ = await events(client, OPENAI, chat(stream=True))
    pieces = [chunk.data["choices"][0]["delta"]["content"] for chunk in tokens]
    assert [len(piece.split()) for piece in pieces] == [1] * len(pieces)


async def test_usage_follows_a_streamed_chat_that_asks_for_it(client: httpx.AsyncClient) -> None:
    whole = await answer(client, OPENAI, chat())
    *_, usage, done = await events(client, OPENAI, chat(stream=True, stream_options=USAGE))
    assert (usage.data["choices"], usage.data["usage"]) == ([], whole["usage"])
    assert done.data == "[DONE]"


async def test_no_usage_follows_a_streamed_chat_that_does_not_ask(
    client: httpx.AsyncClient,
) -> None:
    *chunks, _ = await events(client, OPENAI, chat(stream=True))
    assert not any("usage" in chunk.data for chunk in chunks)


async def test_max_completion_tokens_cuts_a_chat_as_max_tokens_does(
    client: httpx.AsyncClient,
) -> None:
    body = chat(max_completion_tokens=3)
    del body["max_tokens"]
    assert await answer(client, OPENAI, body) == await answer(client, OPENAI, chat(max_tokens=3))


async def test_a_tool_the_prompt_names_is_called(client: httpx.AsyncClient) -> None:
    (choice,) = (await answer(client, OPENAI, tool_chat()))["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert call["function"] == {"name": "get_weather", "arguments": "{}"}


async def test_a_streamed_tool_call_begins_with_its_name_and_goes_on_with_its_arguments(
    client: httpx.AsyncClient,
) -> None:
    (whole,) = (await answer(client, OPENAI, trip()))["choices"][0]["message"]["tool_calls"]
    role, call, *more, final, done = await events(client, OPENAI, trip(stream=True))
    assert role.data["choices"][0]["delta"] == {"role": "assistant", "content": None}
    (begun,) = call.data["choices"][0]["delta"]["tool_calls"]
    assert begun.pop("index") == 0
    assert begun["function"].pop("arguments") == ""
    deltas = [chunk.data["choices"][0]["delta"]["tool_calls"][0] for chunk in more]
    begun["function"]["arguments"] = "".join(d["function"]["arguments"] for d in deltas)
    assert len(deltas) > 1
    assert begun == whole
    assert final.data["choices"][0]["finish_reason"] == "tool_calls"
    assert done.data == "[DONE]"


async def test_the_arguments_of_a_call_are_valid_against_the_tools_schema(
    client: httpx.AsyncClient,
) -> None:
    (call,) = (await answer(client, OPENAI, trip()))["choices"][0]["message"]["tool_calls"]
    jsonschema.validate(json.loads(call["function"]["arguments"]), TRIP)


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", None),
        ("auto", None),
        ("required", "get_weather"),
        ({"type": "function", "function": {"name": "plan_trip"}}, "plan_trip"),
    ],
)
async def test_a_tool_is_called_where_the_caller_insists(
    client: httpx.AsyncClient, choice: object, called: str | None
) -> None:
    body = chat(tools=[WEATHER, PLAN_TRIP], tool_choice=choice)
    message = (await answer(client, OPENAI, body))["choices"][0]["message"]
    names = [call["function"]["name"] for call in message.get("tool_calls", ())]
    assert names == ([called] if called else [])


async def test_a_tool_that_has_to_be_called_and_is_not_there_is_refused(
    client: httpx.AsyncClient,
) -> None:
    choice = {"type": "function", "function": {"name": "nobody"}}
    body = chat(tools=[WEATHER], tool_choice=choice)
    assert (await client.post(OPENAI, json=body)).status_code == 400


async def test_behind_the_result_of_a_call_there_is_text(client: httpx.AsyncClient) -> None:
    body = tool_chat()
    body["messages"] += [
        (await answer(client, OPENAI, body))["choices"][0]["message"],
        {"role": "tool", "tool_call_id": "call_demo", "content": "get_weather says: rain"},
    ]
    (choice,) = (await answer(client, OPENAI, body))["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"]


# -- structured output -------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_valid_against_the_schema_that_is_asked_for(
    client: httpx.AsyncClient, stream: bool
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "trip", "schema": TRIP}}
    body = chat(response_format=form)
    if stream:
        text = text_of((await events(client, OPENAI, body | {"stream": True}))[:-1])
    else:
        text = (await answer(client, OPENAI, body))["choices"][0]["message"]["content"]
    jsonschema.validate(json.loads(text), TRIP)


async def test_an_answer_is_a_json_object_where_one_is_asked_for(
    client: httpx.AsyncClient,
) -> None:
    body = chat(response_format={"type": "json_object"})
    text = (await answer(client, OPENAI, body))["choices"][0]["message"]["content"]
    assert isinstance(json.loads(text), dict)


async def test_a_tool_the_prompt_does_not_name_is_not_called(client: httpx.AsyncClient) -> None:
    assert await answer(client, OPENAI, chat(tools=[WEATHER])) == await answer(
        client, OPENAI, chat()
    )


# -- completions -------------------------------------------------------------------------------


async def test_a_completion_says_to_a_prompt_what_a_chat_says(client: httpx.AsyncClient) -> None:
    said = (await answer(client, OPENAI, chat()))["choices"][0]["message"]["content"]
    document = await answer(client, COMPLETIONS, completion())
    assert document["object"] == "text_completion"
    assert document["choices"] == [
        {"index": 0, "text": said, "logprobs": None, "finish_reason": "stop"}
    ]


async def test_a_streamed_completion_is_the_whole_one_in_pieces(
    client: httpx.AsyncClient,
) -> None:
    (whole,) = (await answer(client, COMPLETIONS, completion()))["choices"]
    *chunks, done = await events(client, COMPLETIONS, completion(stream=True))
    choices = [chunk.data["choices"][0] for chunk in chunks]
    assert "".join(choice["text"] for choice in choices) == whole["text"]
    assert [c["finish_reason"] for c in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert done.data == "[DONE]"


async def test_usage_follows_a_streamed_completion_that_asks_for_it(
    client: httpx.AsyncClient,
) -> None:
    whole = await answer(client, COMPLETIONS, completion())
    asked = completion(stream=True, stream_options=USAGE)
    *_, usage, _ = await events(client, COMPLETIONS, asked)
    assert (usage.data["choices"], usage.data["usage"]) == ([], whole["usage"])


# -- responses ---------------------------------------------------------------------------------


# -- embeddings --------------------------------------------------------------------------------


async def test_a_text_has_one_vector_whichever_request_it_comes_in(
    client: httpx.AsyncClient,
) -> None:
    alone = await answer(client, EMBEDDINGS, embedding())
    among = await answer(client, EMBEDDINGS, embedding(input=["other", PROMPT]))
    other, same = among["data"]
    assert same["embedding"] == alone["data"][0]["embedding"] != other["embedding"]


async def test_embeddings_are_numbered_in_the_order_of_their_texts(
    client: httpx.AsyncClient,
) -> None:
    document = await answer(client, EMBEDDINGS, embedding(input=["a", "b", "c"]))
    assert document["object"] == "list"
    numbered = [(item["object"], item["index"]) for item in document["data"]]
    assert numbered == [("embedding", 0), ("embedding", 1), ("embedding", 2)]


async def test_an_embedding_is_a_unit_vector(client: httpx.AsyncClient) -> None:
    (item,) = (await answer(client, EMBEDDINGS, embedding()))["data"]
    assert math.isclose(math.hypot(*item["embedding"]), 1.0)


@pytest.mark.parametrize(("asked", "got"), [({}, 64), ({"dimensions": 8}, 8)])
async def test_an_embedding_has_the_dimensions_asked_for(
    client: httpx.AsyncClient, asked: Body, got: int
) -> None:
    (item,) = (await answer(client, EMBEDDINGS, embedding(**asked)))["data"]
    assert len(item["embedding"]) == got


async def test_an_embedding_in_base64_is_the_same_vector_in_floats_of_four_bytes(
    client: httpx.AsyncClient,
) -> None:
    (item,) = (await answer(client, EMBEDDINGS, embedding()))["data"]
    asked = embedding(encoding_format="base64")
    (encoded,) = (await answer(client, EMBEDDINGS, asked))["data"]
    floats = struct.unpack("<64f", base64.b64decode(encoded["embedding"]))
    assert floats == pytest.approx(item["embedding"], rel=1e-6)


@pytest.mark.parametrize(("ids", "count"), [([1, 22, 3], 1), ([[1, 22, 3], [4]], 2)])
async def test_embeddings_take_token_ids(
    client: httpx.AsyncClient, ids: list[Any], count: int
) -> None:
    document = await answer(client, EMBEDDINGS, embedding(input=ids))
    assert len(document["data"]) == count
    assert document["usage"]["prompt_tokens"] == sum(
        len(each) if isinstance(each, list) else 1 for each in ids
    )
    alone = await answer(client, EMBEDDINGS, embedding(input=[1, 22, 3]))
    assert document["data"][0] == alone["data"][0]


async def test_embeddings_count_the_tokens_of_every_text(client: httpx.AsyncClient) -> None:
    document = await answer(client, EMBEDDINGS, embedding(input=[PROMPT, "two words"]))
    tokens = PROMPT_TOKENS + 2
    assert document["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


# -- models and transcriptions -----------------------------------------------------------------


async def test_the_listed_models_are_models(client: httpx.AsyncClient) -> None:
    document = (await client.get("/v1/models")).json()
    assert document["object"] == "list"
    assert {"demo", "demo-llama", "demo-embedding"} <= {m["id"] for m in document["data"]}
    assert {model["object"] for model in document["data"]} == {"model"}


async def test_a_listed_model_is_found_by_its_name(client: httpx.AsyncClient) -> None:
    for model in (await client.get("/v1/models")).json()["data"]:
        assert (await client.get(f"/v1/models/{model['id']}")).json() == model


async def test_a_transcription_says_what_it_was_given(client: httpx.AsyncClient) -> None:
    response = await client.post(
        TRANSCRIPTIONS, data={"model": "demo-whisper"}, files={"file": ("a.wav", b"RIFF" * 10)}
    )
    assert response.json() == {"text": "demo-whisper heard 40 bytes of a.wav."}


async def test_a_transcription_without_a_file_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post(TRANSCRIPTIONS, data={"model": "demo-whisper"})
    assert response.status_code == 400
    assert "'file'" in response.json()["error"]["message"]


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [OPENAI, COMPLETIONS, RESPONSES, EMBEDDINGS])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "JSON"),
        (b'{"model": ', "JSON"),
        (b'["demo"]', "'model'"),
        (b'{"messages": []}', "'model'"),
        (b'{"model": 7}', "'model'"),
    ],
)
async def test_a_body_that_names_no_model_is_refused(
    client: httpx.AsyncClient, path: str, content: bytes, said: str
) -> None:
    response = await client.post(path, content=content)
    assert response.status_code == 400
    error = response.json()["error"]
    assert said in error.pop("message")
    assert error == {"type": "invalid_request_error", "code": None, "param": None}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (OPENAI, {"model": "demo"}, "'messages'"),
        (OPENAI, chat(messages=[]), "'messages'"),
        (OPENAI, chat(messages="Hello"), "'messages'"),
        (OPENAI, chat(max_tokens=0), "'max_tokens'"),
        (OPENAI, chat(max_tokens="9"), "'max_tokens'"),
        (COMPLETIONS, completion(max_tokens=-1), "'max_tokens'"),
        (RESPONSES, response_request(max_output_tokens=0), "'max_output_tokens'"),
        (EMBEDDINGS, {"model": "demo-embedding"}, "'input'"),
        (EMBEDDINGS, embedding(input=[]), "'input'"),
        (EMBEDDINGS, embedding(input=["text", 7]), "'input'"),
    ],
)
async def test_a_field_that_is_missing_or_wrong_is_named(
    client: httpx.AsyncClient, path: str, body: Body, said: str
) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert said in error["message"]
