"""What the demo backend answers as Anthropic."""

from __future__ import annotations

import json

import httpx
import jsonschema
import pytest

from tests.demo.conftest import (
    ANTHROPIC,
    OPENAI,
    PROMPT,
    PROMPT_TOKENS,
    Body,
    answer,
    chat,
    events,
)

COUNT = "/v1/messages/count_tokens"


async def test_messages_are_answered_with_one_message(client: httpx.AsyncClient) -> None:
    document = await answer(client, ANTHROPIC, chat())
    assert (document["type"], document["role"]) == ("message", "assistant")
    assert document["model"] == "demo"
    assert (document["stop_reason"], document["stop_sequence"]) == ("end_turn", None)
    (block,) = document["content"]
    assert block["type"] == "text"


async def test_it_says_what_the_openai_dialect_says(client: httpx.AsyncClient) -> None:
    said = (await answer(client, OPENAI, chat()))["choices"][0]["message"]["content"]
    (block,) = (await answer(client, ANTHROPIC, chat()))["content"]
    assert block["text"] == said


async def test_content_in_blocks_is_read_as_its_texts(client: httpx.AsyncClient) -> None:
    blocks = [{"type": "text", "text": PROMPT}, {"type": "image", "source": {}}]
    in_blocks = chat(messages=[{"role": "user", "content": blocks}])
    assert await answer(client, ANTHROPIC, in_blocks) == await answer(client, ANTHROPIC, chat())


async def test_a_streamed_message_has_its_events_in_order(client: httpx.AsyncClient) -> None:
    streamed = await events(client, ANTHROPIC, chat(stream=True))
    deltas = [event.name for event in streamed].count("content_block_delta")
    assert deltas > 0
    assert [event.name for event in streamed] == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_an_events_data_repeats_its_name(client: httpx.AsyncClient) -> None:
    streamed = await events(client, ANTHROPIC, chat(stream=True))
    assert [event.data["type"] for event in streamed] == [event.name for event in streamed]


async def test_a_streamed_message_starts_empty(client: httpx.AsyncClient) -> None:
    start, block, *_ = await events(client, ANTHROPIC, chat(stream=True))
    message = start.data["message"]
    assert (message["content"], message["stop_reason"]) == ([], None)
    assert message["usage"] == {"input_tokens": PROMPT_TOKENS, "output_tokens": 0}
    assert block.data["content_block"] == {"type": "text", "text": ""}


async def test_a_streamed_message_says_what_the_whole_one_says(client: httpx.AsyncClient) -> None:
    (block,) = (await answer(client, ANTHROPIC, chat()))["content"]
    streamed = await events(client, ANTHROPIC, chat(stream=True))
    deltas = [event.data["delta"] for event in streamed if event.name == "content_block_delta"]
    assert "".join(delta["text"] for delta in deltas) == block["text"]
    assert {delta["type"] for delta in deltas} == {"text_delta"}


@pytest.mark.parametrize("most", [2, 1000])
async def test_a_streamed_message_ends_with_the_reason_and_the_usage_of_the_whole_one(
    client: httpx.AsyncClient, most: int
) -> None:
    whole = await answer(client, ANTHROPIC, chat(max_tokens=most))
    *_, ending, _ = await events(client, ANTHROPIC, chat(max_tokens=most, stream=True))
    assert ending.data["delta"] == {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    assert ending.data["usage"] == {"output_tokens": whole["usage"]["output_tokens"]}


async def test_counting_tokens_agrees_with_the_usage_of_the_answer(
    client: httpx.AsyncClient,
) -> None:
    counted = await answer(client, COUNT, chat())
    usage = (await answer(client, ANTHROPIC, chat()))["usage"]
    assert counted == {"input_tokens": usage["input_tokens"]} == {"input_tokens": PROMPT_TOKENS}


@pytest.mark.parametrize("path", [ANTHROPIC, COUNT])
@pytest.mark.parametrize("content", [b"", b'{"model": ', b'["demo"]', b'{"max_tokens": 9}'])
async def test_a_body_that_names_no_model_is_refused(
    client: httpx.AsyncClient, path: str, content: bytes
) -> None:
    response = await client.post(path, content=content)
    assert response.status_code == 400
    document = response.json()
    assert (document["type"], document["request_id"]) == ("error", "req_demo")
    assert document["error"].pop("message")
    assert document["error"] == {"type": "invalid_request_error"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "demo", "max_tokens": 9}, "'messages'"),
        (chat(messages=[]), "'messages'"),
        (chat(max_tokens=None), "max_tokens"),
        (chat(max_tokens=0), "max_tokens"),
        (chat(max_tokens="9"), "max_tokens"),
    ],
)
async def test_a_field_that_is_missing_or_wrong_is_named(
    client: httpx.AsyncClient, body: Body, said: str
) -> None:
    response = await client.post(ANTHROPIC, json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert said in error["message"]


# -- tools and structured output ---------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
    "required": ["city", "days"],
}
TOOL = {"name": "plan_trip", "input_schema": SCHEMA}


@pytest.mark.parametrize(
    ("prompt", "choice", "calls"),
    [
        ("Please plan_trip", {}, True),
        (PROMPT, {}, False),
        (PROMPT, {"type": "any"}, True),
        (PROMPT, {"type": "tool", "name": "plan_trip"}, True),
        ("Please plan_trip", {"type": "none"}, False),
    ],
)
async def test_a_tool_is_called_where_it_is_named_or_the_caller_insists(
    client: httpx.AsyncClient, prompt: str, choice: Body, calls: bool
) -> None:
    body = chat(messages=[{"role": "user", "content": prompt}], tools=[TOOL])
    document = await answer(client, ANTHROPIC, body | ({"tool_choice": choice} if choice else {}))
    (block,) = document["content"]
    assert document["stop_reason"] == ("tool_use" if calls else "end_turn")
    assert block["type"] == ("tool_use" if calls else "text")
    if calls:
        jsonschema.validate(block["input"], SCHEMA)


async def test_a_streamed_call_is_the_whole_one_in_pieces(client: httpx.AsyncClient) -> None:
    body = chat(messages=[{"role": "user", "content": "plan_trip"}], tools=[TOOL])
    (block,) = (await answer(client, ANTHROPIC, body))["content"]
    streamed = await events(client, ANTHROPIC, body | {"stream": True})
    (start,) = (e.data["content_block"] for e in streamed if e.name == "content_block_start")
    deltas = [e.data["delta"] for e in streamed if e.name == "content_block_delta"]
    assert {delta["type"] for delta in deltas} == {"input_json_delta"}
    whole = json.loads("".join(delta["partial_json"] for delta in deltas))
    assert start | {"input": whole} == block


async def test_tools_of_anthropics_own_are_never_called(client: httpx.AsyncClient) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    body = chat(messages=[{"role": "user", "content": "web_search"}], tools=[search])
    assert (await answer(client, ANTHROPIC, body))["stop_reason"] == "end_turn"


@pytest.mark.parametrize("key", ["output_config", "output_format"])
async def test_an_answer_is_valid_against_the_schema_that_is_asked_for(
    client: httpx.AsyncClient, key: str
) -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    asked = {key: form if key == "output_format" else {"format": form}}
    (block,) = (await answer(client, ANTHROPIC, chat(**asked)))["content"]
    jsonschema.validate(json.loads(block["text"]), SCHEMA)
