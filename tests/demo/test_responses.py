"""The demo backend's Responses API."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema

from tests.demo.conftest import (
    MANY,
    OPENAI,
    PLAN_TRIP,
    PROMPT,
    RESPONSES,
    TRIP,
    Body,
    answer,
    chat,
    events,
)


def response_request(**fields: Any) -> Body:
    return {"model": "demo", "input": PROMPT, "max_output_tokens": MANY, **fields}


def trip(**fields: Any) -> Body:
    messages = [{"role": "user", "content": "Please plan_trip"}]
    return chat(messages=messages, tools=[PLAN_TRIP], **fields)


async def test_a_response_is_valid_against_the_schema_that_is_asked_for(
    client: httpx.AsyncClient,
) -> None:
    form = {"type": "json_schema", "name": "trip", "schema": TRIP}
    document = await answer(client, RESPONSES, response_request(text={"format": form}))
    jsonschema.validate(json.loads(document["output"][0]["content"][0]["text"]), TRIP)


async def test_a_streamed_response_calls_a_tool_with_its_events_in_order(
    client: httpx.AsyncClient,
) -> None:
    tool = {"type": "function", "name": "plan_trip", "parameters": TRIP}
    body = response_request(input="Please plan_trip", tools=[tool])
    whole = await answer(client, RESPONSES, body)
    seen = await events(client, RESPONSES, body | {"stream": True})
    names = [event.name for event in seen]
    delta, done = (f"response.function_call_arguments.{kind}" for kind in ("delta", "done"))
    assert list(dict.fromkeys(names)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        delta,
        done,
        "response.output_item.done",
        "response.completed",
    ]
    arguments = "".join(event.data["delta"] for event in seen if event.name == delta)
    (item,) = whole["output"]
    assert (item["type"], item["name"], item["arguments"]) == (
        "function_call",
        "plan_trip",
        arguments,
    )
    jsonschema.validate(json.loads(arguments), TRIP)
    assert seen[-1].data["response"]["output"] == [item]


async def test_a_response_says_what_a_chat_says(client: httpx.AsyncClient) -> None:
    said = (await answer(client, OPENAI, chat()))["choices"][0]["message"]["content"]
    document = await answer(client, RESPONSES, response_request())
    assert (document["object"], document["status"]) == ("response", "completed")
    (item,) = document["output"]
    (part,) = item["content"]
    assert (item["type"], item["role"]) == ("message", "assistant")
    assert (part["type"], part["text"]) == ("output_text", said)


async def test_a_response_takes_a_list_of_messages_for_input(client: httpx.AsyncClient) -> None:
    listed = response_request(input=[{"role": "user", "content": PROMPT}])
    assert await answer(client, RESPONSES, listed) == await answer(
        client, RESPONSES, response_request()
    )


async def test_a_streamed_response_has_its_events_in_order(client: httpx.AsyncClient) -> None:
    streamed = await events(client, RESPONSES, response_request(stream=True))
    deltas = [event.name for event in streamed].count("response.output_text.delta")
    assert deltas > 0
    assert [event.name for event in streamed] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


async def test_a_streamed_response_names_and_numbers_its_events_in_their_data(
    client: httpx.AsyncClient,
) -> None:
    streamed = await events(client, RESPONSES, response_request(stream=True))
    assert [event.data["type"] for event in streamed] == [event.name for event in streamed]
    numbers = [event.data["sequence_number"] for event in streamed]
    assert numbers == list(range(len(streamed)))


async def test_a_streamed_response_ends_in_the_whole_one(client: httpx.AsyncClient) -> None:
    whole = await answer(client, RESPONSES, response_request())
    streamed = await events(client, RESPONSES, response_request(stream=True))
    text = "".join(e.data["delta"] for e in streamed if e.name == "response.output_text.delta")
    assert text == whole["output"][0]["content"][0]["text"]
    assert streamed[-1].data["response"] == whole
