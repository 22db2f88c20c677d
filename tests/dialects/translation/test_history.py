"""Tool calls of earlier turns: broken arguments, missing ids, results without calls."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.dialects.translation.options import TranslationOptions
from gateway.errors import RequestError
from tests.dialects.translation.bodies import HI, OPTIONS, chat, dropped, history, read, says
from tests.dialects.translation.wire import NAMES, SIDES


def translated(one: str, other: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    return SIDES[other].write(read(one, body), TranslationOptions(**options))


BROKEN = ['{"half', "x", "[1]", "7", "true", '"x"', '"\\"x\\""', [1], 7]


@pytest.mark.parametrize("arguments", BROKEN)
@pytest.mark.parametrize("other", ["anthropic", "ollama", "openai"])
def test_broken_arguments_of_an_earlier_turn_are_empty_and_told(other: str, arguments: Any) -> None:
    body = translated("openai", other, history(arguments))
    call = body["messages"][1]
    given = {
        "openai": lambda: orjson.loads(call["tool_calls"][0]["function"]["arguments"]),
        "ollama": lambda: call["tool_calls"][0]["function"]["arguments"],
        "anthropic": lambda: call["content"][0]["input"],
    }[other]()
    assert given == {}
    assert dropped("openai", other, history(arguments)) == [
        "messages.tool_calls.function.arguments"
    ]


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a":1}', '"{\\"a\\":1}"'])
@pytest.mark.parametrize("one", NAMES)
def test_arguments_of_an_earlier_turn_are_an_object_or_json_text(one: str, arguments: Any) -> None:
    body = history(arguments)
    if one == "anthropic":
        block = {"type": "tool_use", "id": "c", "name": "f", "input": arguments}
        result = {"type": "tool_result", "tool_use_id": "c", "content": "7"}
        turns = [{"role": "assistant", "content": [block]}, {"role": "user", "content": [result]}]
        body = says(HI, *turns)
    asked = read(one, body)
    assert asked.dropped == []
    assert SIDES["anthropic"].write(asked, OPTIONS)["messages"][1]["content"][0]["input"] == {
        "a": 1
    }


@pytest.mark.parametrize("arguments", [None, "", "null", "{}", {}])
def test_no_arguments_of_an_earlier_turn_are_none(arguments: Any) -> None:
    asked = read("openai", history(arguments))
    assert asked.dropped == []
    written = SIDES["anthropic"].write(asked, OPTIONS)
    assert written["messages"][1]["content"][0]["input"] == {}


@pytest.mark.parametrize("other", ["anthropic", "ollama"])
def test_calls_of_earlier_turns_without_ids_are_joined_with_their_results(other: str) -> None:
    messages = translated("openai", other, history("{}", None))["messages"]
    if other == "anthropic":
        ids = messages[1]["content"][0]["id"], messages[2]["content"][0]["tool_use_id"]
    else:
        ids = messages[1]["tool_calls"][0]["id"], messages[2]["tool_call_id"]
    assert ids == ("call_0", "call_0")


def test_a_result_that_answers_no_call_is_refused_by_its_place() -> None:
    with pytest.raises(RequestError) as caught:
        read("openai", chat(HI, {"role": "tool", "content": "7"}))
    assert caught.value.param == "messages[1].tool_call_id"


def test_a_result_whose_call_was_cut_off_becomes_text_for_anthropic() -> None:
    result = {"role": "tool", "tool_call_id": "gone", "content": "7"}
    content = translated("openai", "anthropic", chat(result, HI))["messages"][0]["content"]
    assert content == [{"type": "text", "text": "7"}, {"type": "text", "text": "Hi"}]
    twice = history("{}")
    twice["messages"].append({"role": "tool", "tool_call_id": "c", "content": "8"})
    content = translated("openai", "anthropic", twice)["messages"][-1]["content"]
    assert [block["type"] for block in content] == ["tool_result", "text"]
    empty = chat({**result, "content": ""})
    assert translated("openai", "anthropic", empty)["messages"][0]["content"]


def test_legacy_function_calls_of_earlier_turns_are_calls() -> None:
    body = chat(
        HI,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "7"},
    )
    messages = translated("openai", "anthropic", body)["messages"]
    assert messages[1]["content"] == [
        {"type": "tool_use", "id": "call_0", "name": "f", "input": {}}
    ]
    assert messages[2]["content"][0]["tool_use_id"] == "call_0"


def test_a_call_that_was_interrupted_gets_a_result_that_says_so() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    body = chat(
        HI,
        {"role": "assistant", "tool_calls": [{"id": "a", **call}, {"id": "b", **call}]},
        {"role": "user", "content": "Stop."},
        {"role": "tool", "tool_call_id": "b", "content": "7"},
    )
    (_, _, turn) = translated("openai", "anthropic", body)["messages"]
    assert [(block["type"], block.get("tool_use_id")) for block in turn["content"]] == [
        ("tool_result", "b"),
        ("tool_result", "a"),
        ("text", None),
    ]
    assert turn["content"][1]["is_error"] is True
