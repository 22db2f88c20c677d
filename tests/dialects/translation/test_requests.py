"""Requests from one dialect into another: what is carried, what is dropped, what is refused."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.translation.conversation import (
    Choice,
    Conversation,
    Image,
    ImageUrl,
    JsonFormat,
    Message,
    Part,
    Role,
    Shown,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from gateway.dialects.translation.options import ThinkingWord, TranslationOptions
from gateway.errors import NotTranslatable, RequestError
from tests.dialects.translation.wire import NAMES, PAIRS, SIDES

SLOW = [HealthCheck.too_slow]  # a busy machine is no fault of a test's
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 9).decode()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPTIONS = TranslationOptions(continues="prefill")

OPENAI: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"city":"Paris"}'},
                },
                {
                    "id": "call_2",
                    "type": "function",
                    "function": {"name": "hear", "arguments": ""},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "A tower."},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "Cars."}]},
        {"role": "user", "content": "So?", "name": "ann"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA},
        }
    ],
    "tool_choice": "auto",
    "temperature": 0.5,
    "top_p": 0.9,
    "max_completion_tokens": 100,
    "stop": ["END"],
    "stream": True,
    "user": "ann",
    "n": 1,
    "logprobs": False,
    "store": False,
    "metadata": {"a": "b"},
}


def translated(one: str, other: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    asked = SIDES[one].read(orjson.loads(orjson.dumps(body)))
    return SIDES[other].write(asked, TranslationOptions(**options))


# -- carried -----------------------------------------------------------------------------------


def test_a_request_of_openais_becomes_one_of_anthropics() -> None:
    assert translated("openai", "anthropic", OPENAI) == {
        "model": "m",
        "max_tokens": 100,
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me look."},
                    {
                        "type": "tool_use",
                        "id": "call_1",
                        "name": "look",
                        "input": {"city": "Paris"},
                    },
                    {"type": "tool_use", "id": "call_2", "name": "hear", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "A tower."},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "Cars."},
                    {"type": "text", "text": "So?"},
                ],
            },
        ],
        "tools": [{"name": "look", "description": "Looks.", "input_schema": SCHEMA}],
        "tool_choice": {"type": "auto"},
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "stream": True,
        "metadata": {"user_id": "ann"},
    }


def test_a_request_of_openais_becomes_one_of_ollamas() -> None:
    assert translated("openai", "ollama", OPENAI) == {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is this?", "images": [PNG]},
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [
                    {"id": "call_1", "function": {"name": "look", "arguments": {"city": "Paris"}}},
                    {"id": "call_2", "function": {"name": "hear", "arguments": {}}},
                ],
            },
            {
                "role": "tool",
                "content": "A tower.",
                "tool_call_id": "call_1",
                "tool_name": "look",
            },
            {"role": "tool", "content": "Cars.", "tool_call_id": "call_2", "tool_name": "hear"},
            {"role": "user", "content": "So?"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA},
            }
        ],
        "options": {"temperature": 0.5, "top_p": 0.9, "num_predict": 100, "stop": ["END"]},
    }


def test_a_request_of_anthropics_becomes_one_of_openais() -> None:
    body = {
        "model": "m",
        "max_tokens": 100,
        "stream": True,
        "system": [
            {"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "brief."},
        ],
        "messages": [
            {"role": "user", "content": "Look."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "is_error": False,
                        "content": [
                            {"type": "text", "text": "Seen"},
                            {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
                        ],
                    },
                    {"type": "text", "text": "Well?"},
                ],
            },
        ],
        "tools": [{"name": "look", "input_schema": SCHEMA, "type": "custom"}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 5000},
        "stop_sequences": ["END"],
        "top_k": 7,
        "metadata": {"user_id": "ann"},
        "service_tier": "auto",
    }
    assert translated("anthropic", "openai", body) == {
        "model": "m",
        "max_completion_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}],
            },
            {"role": "user", "content": "Look."},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "toolu_1",
                        "type": "function",
                        "function": {"name": "look", "arguments": '{"a":1}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": "Seen"},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "https://x/y"}},
                    {"type": "text", "text": "Well?"},
                ],
            },
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "stop": ["END"],
        "top_k": 7,
        "user": "ann",
    }


def test_a_request_of_ollamas_becomes_one_of_the_others() -> None:
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Look.", "images": [PNG]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"function": {"name": "look", "arguments": {"a": 1}}},
                    {"function": {"name": "hear", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "Cars.", "tool_name": "hear"},
            {"role": "tool", "content": "Seen.", "tool_name": "look"},
        ],
        "think": True,
        "format": SCHEMA,
        "keep_alive": "5m",
        "options": {
            "num_predict": 9,
            "num_ctx": 4096,
            "seed": 3,
            "temperature": 0,
            "repeat_penalty": 1.1,
        },
    }
    openai = translated("ollama", "openai", body)
    assert openai["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"a":1}'},
                },
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "hear", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Cars."},
        {"role": "tool", "tool_call_id": "call_0", "content": "Seen."},
    ]
    assert (openai["seed"], openai["temperature"], openai["stream"]) == (3, 0, True)
    assert (openai["max_completion_tokens"], openai["repetition_penalty"]) == (9, 1.1)
    assert openai["reasoning_effort"] == "medium"
    assert openai["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA},
    }
    del body["options"]
    anthropic = translated("ollama", "anthropic", body, max_tokens=777)
    assert anthropic["max_tokens"] == 777
    assert anthropic["thinking"] == {"type": "adaptive"}
    assert anthropic["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert [turn["role"] for turn in anthropic["messages"]] == ["user", "assistant", "user"]
    assert [block["tool_use_id"] for block in anthropic["messages"][2]["content"]] == [
        "call_1",
        "call_0",
    ]


@pytest.mark.parametrize(
    ("effort", "most", "word", "expected"),
    [
        ("high", 30_000, "budget", {"thinking": {"type": "enabled", "budget_tokens": 16384}}),
        ("high", 5_000, "budget", {"thinking": {"type": "enabled", "budget_tokens": 4999}}),
        ("high", 500, "budget", {}),
        ("none", 500, "budget", {"thinking": {"type": "disabled"}}),
        (
            "xhigh",
            500,
            "adaptive",
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
        ),
    ],
)
def test_thinking_is_asked_for_as_the_model_wants_it(
    effort: str, most: int, word: str, expected: dict[str, Any]
) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": most,
        "reasoning_effort": effort,
    }
    written = translated("openai", "anthropic", body, thinking=ThinkingWord(word))
    assert {key: written[key] for key in ("thinking", "output_config") if key in written} == (
        expected
    )


def test_a_turn_that_has_begun_without_thoughts_goes_on_without() -> None:
    body = {**OPENAI, "reasoning_effort": "low", "max_completion_tokens": 9000}
    body["messages"] = OPENAI["messages"][:5]
    assert "thinking" not in translated("openai", "anthropic", body, thinking=ThinkingWord.BUDGET)


@pytest.mark.parametrize(
    ("continues", "expected"),
    [("prefill", {}), ("continue_final_message", {"continue_final_message": True})],
)
def test_a_prefill_is_gone_on_with_where_the_backend_can(
    continues: str, expected: dict[str, Any]
) -> None:
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Well "},
        ],
    }
    written = translated("anthropic", "openai", body, continues=continues)
    assert written["messages"][-1] == {"role": "assistant", "content": "Well "}
    assert written.get("continue_final_message") == expected.get("continue_final_message")
    with pytest.raises(NotTranslatable) as caught:
        translated("anthropic", "openai", body)
    assert caught.value.param == "messages"


def test_white_space_at_the_end_of_a_prefill_is_taken_off_for_anthropic() -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well \n"}]
    written = translated("openai", "anthropic", {"model": "m", "messages": messages})
    assert written["messages"][-1] == {"role": "assistant", "content": "Well"}


# -- refused -----------------------------------------------------------------------------------


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], **fields}


def content(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("one", "other", "fields", "param"),
    [
        ("openai", "anthropic", {"n": 2}, "n"),
        ("openai", "anthropic", {"logprobs": True}, "logprobs"),
        ("openai", "ollama", {"logit_bias": {"1": 5}}, "logit_bias"),
        ("openai", "anthropic", {"temperature": 1.5}, "temperature"),
        ("openai", "anthropic", {"seed": 0}, "seed"),
        ("openai", "anthropic", {"presence_penalty": 1}, "presence_penalty"),
        ("ollama", "anthropic", {"options": {"repeat_penalty": 1.1}}, "repetition_penalty"),
        (
            "openai",
            "anthropic",
            {"response_format": {"type": "json_object"}},
            "response_format",
        ),
        ("openai", "ollama", {"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
        ("openai", "ollama", {"tools": TOOLS, "parallel_tool_calls": False}, "parallel_tool_calls"),
        (
            "openai",
            "ollama",
            {"messages": content({"type": "image_url", "image_url": {"url": "https://x/y.png"}})},
            "image_url",
        ),
        (
            "openai",
            "anthropic",
            {"messages": content({"type": "input_audio", "input_audio": {}})},
            "messages[0].content[0].type",
        ),
        ("openai", "anthropic", {"guided_json": {"type": "object"}}, "guided_json"),
        ("openai", "anthropic", {"x y": 1}, "a field"),
        ("anthropic", "openai", {"tools": [{"type": "web_search_20250305", "name": "w"}]}, None),
        ("anthropic", "openai", {"container": "c"}, "container"),
        (
            "anthropic",
            "openai",
            {"messages": content({"type": "document", "source": {}})},
            "messages[0].content[0].type",
        ),
        ("ollama", "openai", {"options": {"mirostat": 1}}, "options.mirostat"),
        ("ollama", "openai", {"messages": []}, "messages"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_its_name(
    one: str, other: str, fields: dict[str, Any], param: str | None
) -> None:
    body = chat(**fields)
    if one == "ollama":
        del body["max_tokens"]
    with pytest.raises(NotTranslatable) as caught:
        translated(one, other, body)
    assert (caught.value.status, caught.value.code) == (400, "not_translatable")
    assert caught.value.param == (param or "tools[0].type")


@pytest.mark.parametrize(
    "fields",
    [
        {"mcp_servers": []},
        {"container": None},
        {"extra": {}},
        {"beta": False},
        {"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}},
    ],
)
def test_what_asks_for_nothing_is_no_reason_to_refuse(fields: dict[str, Any]) -> None:
    assert translated("anthropic", "openai", chat(**fields)) == (
        translated("anthropic", "openai", chat())
    )


@pytest.mark.parametrize(
    ("one", "fields", "param"),
    [
        ("openai", {"messages": "hi"}, "messages"),
        ("openai", {"messages": [3]}, "messages[0]"),
        ("openai", {"messages": [{"content": "x"}]}, "messages[0].role"),
        ("openai", {"temperature": "hot"}, "temperature"),
        ("openai", {"max_tokens": True}, "max_tokens"),
        ("openai", {"model": None}, "model"),
        ("anthropic", {"max_tokens": None}, "max_tokens"),
        ("ollama", {"stream": "yes"}, "stream"),
        ("ollama", {"messages": [{"role": "user", "images": ["%%"]}]}, "messages[0].images"),
        ("ollama", {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ],
)
def test_what_is_malformed_is_told_by_its_place(
    one: str, fields: dict[str, Any], param: str
) -> None:
    body = chat(**fields)
    if one == "ollama":
        del body["max_tokens"]
    with pytest.raises(RequestError) as caught:
        SIDES[one].read(body)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert not isinstance(caught.value, NotTranslatable)


# -- there and back ----------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
objects = st.dictionaries(words, words | st.integers(-9, 9), max_size=2)
shown: st.SearchStrategy[Shown] = words.map(Text) | st.just(Image("image/png", PNG))


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """What all three dialects can carry."""
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(Message(Role.SYSTEM, [Text(draw(words))]))
    for turn in range(draw(st.integers(1, 3))):
        messages.append(Message(Role.USER, [Text(draw(words))]))
        said: list[Part] = [Text(draw(words))]
        calls = [
            ToolCall(f"call_{turn}_{index}", f"f{turn}_{index}", orjson.dumps(given_).decode())
            for index, given_ in enumerate(draw(st.lists(objects, max_size=2)))
        ]
        messages.append(Message(Role.ASSISTANT, [*said, *calls]))
        messages += [
            Message(Role.USER, [ToolResult(call.id, [Text(draw(words))])]) for call in calls
        ]
    last = draw(st.lists(shown, min_size=1, max_size=1))
    messages.append(Message(Role.USER, last))
    asked = Conversation(model=draw(words), messages=messages, stream=draw(st.booleans()))
    maybe = st.none() | st.floats(0, 1)
    asked.temperature, asked.top_p = draw(maybe), draw(maybe)
    asked.top_k = draw(st.none() | st.integers(1, 99))
    asked.max_tokens = draw(st.integers(1, 10**6))
    asked.stop = draw(st.lists(words, max_size=3))
    asked.thinks = draw(st.sampled_from([None, False, True]))
    if draw(st.booleans()):
        asked.tools = [Tool("f", draw(st.none() | words), {"type": "object", "properties": {}})]
        asked.choice = draw(st.sampled_from([None, Choice.AUTO]))
    asked.format = draw(st.none() | st.just(JsonFormat({"type": "object"})))
    return asked


def merged(messages: list[Message]) -> list[tuple[Role, list[Part]]]:
    """Turns, however they are cut into messages."""
    turns: list[tuple[Role, list[Part]]] = []
    for message in messages:
        if turns and turns[-1][0] is message.role:
            turns[-1][1].extend(message.parts)
        else:
            turns.append((message.role, list(message.parts)))
    return turns


@pytest.mark.parametrize("name", NAMES)
@given(asked=conversations())
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
def test_what_is_written_reads_as_what_was_asked(name: str, asked: Conversation) -> None:
    body = orjson.loads(orjson.dumps(SIDES[name].write(asked, OPTIONS)))
    read = SIDES[name].read(body)
    assert merged(read.messages) == merged(asked.messages)
    for key in ("model", "stream", "tools", "max_tokens", "temperature", "top_p", "top_k"):
        assert getattr(read, key) == getattr(asked, key), key
    assert (read.stop, read.thinks) == (asked.stop, asked.thinks)
    assert (read.format and read.format.schema) == (asked.format and asked.format.schema)


@pytest.mark.parametrize(("one", "other"), PAIRS)
@given(asked=conversations())
@settings(max_examples=15, deadline=None, suppress_health_check=SLOW)
def test_a_request_survives_the_way_there_and_back(
    one: str, other: str, asked: Conversation
) -> None:
    first = SIDES[one].write(asked, OPTIONS)
    there = SIDES[other].write(SIDES[one].read(orjson.loads(orjson.dumps(first))), OPTIONS)
    back = SIDES[one].write(SIDES[other].read(orjson.loads(orjson.dumps(there))), OPTIONS)
    assert merged(SIDES[one].read(back).messages) == merged(SIDES[one].read(first).messages)


def test_a_url_of_a_picture_goes_where_it_can() -> None:
    asked = Conversation("m", [Message(Role.USER, [ImageUrl("https://x/y.png"), Text("?")])])
    for name in ("openai", "anthropic"):
        read = SIDES[name].read(SIDES[name].write(asked, OPTIONS))
        assert read.messages[0].parts == asked.messages[0].parts
