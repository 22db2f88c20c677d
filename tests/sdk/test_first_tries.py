"""What people try first with an SDK works against the demo backend: tools, structured output, and
embeddings, streamed and not.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import anthropic
import ollama
import openai
import pytest
from openai.lib.streaming.chat import ContentDoneEvent
from pydantic import BaseModel

from gateway.demo import DemoBackend
from tests.sdk.conftest import forget_settings
from tests.support.gateway import RunningGateway, StartGateway

ASK: Any = [{"role": "user", "content": "Please call plan_trip for me."}]
RESULT = "Done: the train leaves at nine."


class Trip(BaseModel):
    """An answer with a bit of everything."""

    city: str
    days: int
    season: Literal["summer", "winter"]
    stops: list[str]
    hotel: str | None


SCHEMA = Trip.model_json_schema()


@pytest.fixture
async def demo(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningGateway]:
    """A gateway whose routes each speak one dialect, in front of a demo backend."""
    forget_settings(monkeypatch)
    backend = DemoBackend(pace_s=0.0)
    await backend.start()
    dialects = ("openai", "anthropic", "ollama")
    yield await start_gateway(
        {
            "upstreams": {
                name: {"dialect": name, "endpoints": [{"url": backend.url}]} for name in dialects
            },
            "models": {
                f"{word}{name}": {"upstream": name, "model": "demo-llama"}
                for name in dialects
                for word in ("at-", "of/")
            },
            "routes": [
                {
                    "name": name,
                    "path": f"/{name}/",
                    "strip": True,
                    "auth": "anonymous",
                    "dialect": name,
                    "models": [f"at-{name}", f"of/{name}"],
                }
                for name in dialects
            ],
        }
    )
    await backend.stop()


@pytest.fixture
async def gpt(demo: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{demo.url}/openai/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(demo: RunningGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    url = f"{demo.url}/anthropic"
    async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
async def llama(demo: RunningGateway) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(host=f"{demo.url}/ollama") as client:
        yield client


# -- OpenAI --------------------------------------------------------------------------------------

FUNCTION: Any = {"name": "plan_trip", "parameters": SCHEMA}
TOOLS: Any = [{"type": "function", "function": FUNCTION}]


async def test_openais_chat_calls_a_tool_and_then_answers(gpt: openai.AsyncOpenAI) -> None:
    first = await gpt.chat.completions.create(model="at-openai", messages=ASK, tools=TOOLS)
    (choice,) = first.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    assert call.type == "function"
    Trip.model_validate_json(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": RESULT}
    more: Any = [*ASK, choice.message.model_dump(exclude_none=True), result]
    second = await gpt.chat.completions.create(model="at-openai", messages=more, tools=TOOLS)
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content


async def test_openais_chat_is_parsed_into_a_class(gpt: openai.AsyncOpenAI) -> None:
    whole = await gpt.chat.completions.parse(model="at-openai", messages=ASK, response_format=Trip)
    assert isinstance(whole.choices[0].message.parsed, Trip)
    async with gpt.chat.completions.stream(
        model="at-openai", messages=ASK, response_format=Trip
    ) as stream:
        done = [event async for event in stream if isinstance(event, ContentDoneEvent)]
    assert [event.parsed for event in done] == [whole.choices[0].message.parsed]


async def test_openais_chat_streams_a_call(gpt: openai.AsyncOpenAI) -> None:
    async with gpt.chat.completions.stream(model="at-openai", messages=ASK, tools=TOOLS) as stream:
        final = await stream.get_final_completion()
    [call] = final.choices[0].message.tool_calls or []
    Trip.model_validate_json(call.function.arguments)


async def test_openais_responses_call_a_tool_and_then_answer(gpt: openai.AsyncOpenAI) -> None:
    tools: Any = [{"type": "function", "strict": False, **FUNCTION}]
    first = await gpt.responses.create(model="at-openai", input=ASK, tools=tools)
    (call,) = first.output
    assert call.type == "function_call"
    Trip.model_validate_json(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
    more: Any = [*ASK, call.model_dump(exclude_none=True), result]
    second = await gpt.responses.create(model="at-openai", input=more, tools=tools)
    assert second.output_text
    stream = await gpt.responses.create(model="at-openai", input=ASK, tools=tools, stream=True)
    last = [event async for event in stream][-1]
    assert last.type == "response.completed"
    assert last.response.output == first.output


async def test_openais_responses_are_parsed_into_a_class(gpt: openai.AsyncOpenAI) -> None:
    whole = await gpt.responses.parse(model="at-openai", input=ASK, text_format=Trip)
    assert isinstance(whole.output_parsed, Trip)
    async with gpt.responses.stream(model="at-openai", input=ASK, text_format=Trip) as stream:
        final = await stream.get_final_response()
    assert final.output_parsed == whole.output_parsed


async def test_openais_embeddings_of_texts_and_of_token_ids(gpt: openai.AsyncOpenAI) -> None:
    inputs: list[Any] = ["a text", ["two", "texts"], [1, 2, 3], [[1, 2], [3]]]
    counts = []
    for asked in inputs:
        said = await gpt.embeddings.create(model="at-openai", input=asked)  # base64, by itself
        floats = await gpt.embeddings.create(
            model="at-openai", input=asked, encoding_format="float"
        )
        counts.append(len(said.data))
        pairs = zip(said.data[0].embedding, floats.data[0].embedding, strict=True)
        assert all(abs(one - other) < 1e-6 for one, other in pairs)
    assert counts == [1, 2, 1, 2]


async def test_openais_models_are_listed_and_found_by_name(gpt: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in gpt.models.list()] == ["at-openai", "of/openai"]
    assert (await gpt.models.retrieve("of/openai")).id == "of/openai"


async def test_anthropics_sdk_lists_models_on_any_route(demo: RunningGateway) -> None:
    for name in ("openai", "anthropic", "ollama"):
        async with anthropic.AsyncAnthropic(base_url=f"{demo.url}/{name}", api_key="k") as client:
            listed = [model async for model in client.models.list()]
            assert [model.id for model in listed] == [f"at-{name}", f"of/{name}"]
            assert all(model.display_name and model.created_at.year for model in listed)
            assert await client.models.retrieve(f"of/{name}") == listed[1]


async def test_ollamas_client_lists_and_shows_models(llama: ollama.AsyncClient) -> None:
    assert [model.model for model in (await llama.list()).models] == ["at-ollama", "of/ollama"]
    assert [model.model for model in (await llama.ps()).models] == ["at-ollama", "of/ollama"]
    assert "tools" in ((await llama.show("at-ollama")).capabilities or ())


# -- Anthropic -----------------------------------------------------------------------------------

CLAUDE_TOOLS: Any = [{"name": "plan_trip", "input_schema": SCHEMA}]


async def test_anthropics_messages_call_a_tool_and_then_answer(
    claude: anthropic.AsyncAnthropic,
) -> None:
    asked: Any = {"model": "at-anthropic", "max_tokens": 1000, "tools": CLAUDE_TOOLS}
    first = await claude.messages.create(messages=ASK, **asked)
    assert first.stop_reason == "tool_use"
    (use,) = first.content
    assert use.type == "tool_use"
    Trip.model_validate(use.input)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": RESULT}
    more: Any = [
        *ASK,
        {"role": "assistant", "content": [use.model_dump(include={"type", "id", "name", "input"})]},
        {"role": "user", "content": [result]},
    ]
    second = await claude.messages.create(messages=more, **asked)
    assert second.stop_reason == "end_turn"
    async with claude.messages.stream(messages=ASK, **asked) as stream:
        streamed = await stream.get_final_message()
    assert streamed.stop_reason == "tool_use"
    (same,) = streamed.content
    assert same.type == "tool_use"
    assert same.input == use.input


async def test_anthropics_messages_are_parsed_into_a_class(
    claude: anthropic.AsyncAnthropic,
) -> None:
    said = await claude.messages.parse(
        model="at-anthropic", max_tokens=1000, messages=ASK, output_format=Trip
    )
    assert isinstance(said.parsed_output, Trip)


# -- Ollama --------------------------------------------------------------------------------------


async def test_ollamas_chat_calls_a_tool_and_then_answers(llama: ollama.AsyncClient) -> None:
    first = await llama.chat("at-ollama", ASK, tools=TOOLS)
    (call,) = first.message.tool_calls or ()
    Trip.model_validate(call.function.arguments)
    result = {"role": "tool", "tool_name": "plan_trip", "content": RESULT}
    second = await llama.chat("at-ollama", [*ASK, first.message, result], tools=TOOLS)
    assert second.message.content
    streamed = [part async for part in await llama.chat("at-ollama", ASK, tools=TOOLS, stream=True)]
    calls = [call for part in streamed for call in part.message.tool_calls or ()]
    assert calls == [call]


async def test_ollamas_answers_are_valid_against_a_schema(llama: ollama.AsyncClient) -> None:
    chat = await llama.chat("at-ollama", ASK, format=SCHEMA)
    Trip.model_validate_json(chat.message.content or "")
    generated = await llama.generate("at-ollama", "Plan a trip.", format=SCHEMA)
    Trip.model_validate_json(generated.response or "")
    anything = await llama.generate("at-ollama", "Plan a trip.", format="json")
    assert isinstance(json.loads(anything.response or ""), dict)


async def test_ollamas_embeddings_of_today_and_of_old(llama: ollama.AsyncClient) -> None:
    today = await llama.embed("at-ollama", ["a text", "another"])
    old = await llama.embeddings("at-ollama", "a text")
    assert [*today.embeddings[0]] == [*old.embedding]
