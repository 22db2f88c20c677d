"""Requests in Anthropic's dialect, from callers of OpenAI's."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.dialects.translation.options import ThinkingWord
from tests.dialects.translation.bodies import (
    HI,
    OPTIONS,
    PNG,
    chat,
    dropped,
    history,
    read,
    translated,
)
from tests.dialects.translation.wire import SIDES

EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
THINKING = {"type": "enabled", "budget_tokens": 5000}


@pytest.mark.parametrize(("told", "sent"), [(-1, 4096), (0, 4096), (10.0, 10)])
def test_a_maximum_is_what_anthropic_takes(told: float, sent: int) -> None:
    assert translated("openai", "anthropic", chat(max_tokens=told))["max_tokens"] == sent


def test_a_name_that_a_model_made_up_is_fitted_to_what_anthropic_takes() -> None:
    body = history("{}")
    body["messages"][1]["tool_calls"][0]["function"]["name"] = "functions.get weather:1"
    block = translated("openai", "anthropic", body)["messages"][1]["content"][0]
    assert block["name"] == "functions_get_weather_1"


@pytest.mark.parametrize("blank", ["", " ", "\n\t", None])
def test_blank_text_is_not_shown_to_anthropic(blank: str | None) -> None:
    part = {"type": "text", "text": blank}
    body = chat(
        {"role": "system", "content": [part]},
        {"role": "user", "content": [part, {"type": "text", "text": "Hi"}, part]},
        {"role": "assistant", "content": blank},
        {"role": "user", "content": "So?"},
    )
    written = translated("openai", "anthropic", body)
    assert "system" not in written
    text = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "So?"}]
    assert written["messages"] == [{"role": "user", "content": text}]


@pytest.mark.parametrize("blank", ["", " ", [{"type": "text", "text": ""}]])
def test_a_blank_result_of_a_tool_is_one_without_content(blank: Any) -> None:
    body = history("{}")
    body["messages"][2]["content"] = blank
    block = translated("openai", "anthropic", body)["messages"][2]["content"][0]
    assert block == {"type": "tool_result", "tool_use_id": "c"}


def test_cache_control_is_carried_from_everywhere() -> None:
    body = chat(
        {"role": "system", "content": "Be brief.", "cache_control": HOUR},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a", "cache_control": EPHEMERAL},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c", "cache_control": EPHEMERAL},
        tools=[{"type": "function", "function": {"name": "f"}, "cache_control": EPHEMERAL}],
    )
    asked = read("openai", body)
    written = SIDES["anthropic"].write(asked, OPTIONS)
    assert asked.dropped == []
    assert written["system"] == [{"type": "text", "text": "Be brief.", "cache_control": HOUR}]
    first, second, third = written["messages"]
    assert first["content"][0] == {"type": "text", "text": "a", "cache_control": EPHEMERAL}
    assert "cache_control" not in first["content"][1]
    assert second["content"] == "b"
    assert third["content"] == [{"type": "text", "text": "c", "cache_control": EPHEMERAL}]
    assert written["tools"][0]["cache_control"] == EPHEMERAL
    assert "cache_control" not in orjson.dumps(SIDES["ollama"].write(asked, OPTIONS)).decode()
    assert asked.dropped == ["cache_control"]


def test_cache_control_of_a_message_is_that_of_its_last_part() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    body = chat(
        {"role": "assistant", "content": "a", "tool_calls": [call], "cache_control": EPHEMERAL},
        {"role": "tool", "tool_call_id": "c", "content": "7", "cache_control": HOUR},
    )
    said, result = translated("openai", "anthropic", body)["messages"]
    assert ["cache_control" in block for block in said["content"]] == [False, True]
    assert result["content"][0]["cache_control"] == HOUR


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"role": "user", "content": "", "cache_control": EPHEMERAL}, "messages.cache_control"),
        ({"role": "user", "content": " ", "cache_control": EPHEMERAL}, "cache_control"),
        (
            {"role": "user", "content": [{"type": "text", "text": "", "cache_control": HOUR}]},
            "messages.content.cache_control",
        ),
    ],
)
def test_cache_control_of_nothing_is_dropped_and_told(message: dict[str, Any], told: str) -> None:
    assert dropped("openai", "anthropic", chat(HI, message)) == [told]


def test_cache_control_of_the_request_is_carried() -> None:
    body = chat(cache_control=EPHEMERAL)
    assert translated("openai", "anthropic", body)["cache_control"] == EPHEMERAL
    assert dropped("openai", "ollama", body) == ["cache_control"]


def test_of_too_many_cache_controls_the_last_four_are_carried() -> None:
    messages = [{"role": "user", "content": str(n), "cache_control": EPHEMERAL} for n in range(6)]
    system = {"role": "system", "content": "s", "cache_control": EPHEMERAL}
    written = translated("openai", "anthropic", chat(system, *messages))
    (turn,) = written["messages"]
    kept = [block["text"] for block in turn["content"] if "cache_control" in block]
    assert kept == ["2", "3", "4", "5"]
    assert "cache_control" not in written["system"][0]
    assert dropped("openai", "anthropic", chat(system, *messages)) == ["cache_control"]
    written = translated("openai", "anthropic", chat(*messages, cache_control=EPHEMERAL))
    assert sum("cache_control" in block for block in written["messages"][0]["content"]) == 3


@pytest.mark.parametrize("word", list(ThinkingWord))
def test_thinking_in_anthropics_words_is_carried_as_it_is(word: ThinkingWord) -> None:
    body = chat(thinking=THINKING, max_tokens=8000)
    assert translated("openai", "anthropic", body, thinking=word)["thinking"] == THINKING


def test_a_turn_that_answers_a_call_goes_on_without_thinking_that_is_not_signed() -> None:
    body = {**history("{}"), "max_tokens": 8000}
    assert "thinking" not in translated("openai", "anthropic", {**body, "thinking": THINKING})
    assert dropped("openai", "anthropic", {**body, "thinking": THINKING}) == ["thinking"]
    adaptive = {"type": "adaptive"}
    written = translated("openai", "anthropic", {**body, "thinking": adaptive})
    assert written["thinking"] == adaptive


@pytest.mark.parametrize(("most", "told"), [(None, 9096), (5001, 5001)])
def test_the_maximum_is_more_than_the_thinking_in_it(most: int | None, told: int) -> None:
    body = chat(thinking=THINKING, max_tokens=most)
    assert translated("openai", "anthropic", body)["max_tokens"] == told


def test_a_budget_in_tokens_is_carried_where_there_is_one() -> None:
    body = chat(reasoning={"max_tokens": 3000}, max_tokens=9000)
    written = translated("openai", "anthropic", body, thinking=ThinkingWord.BUDGET)
    assert written["thinking"] == {"type": "enabled", "budget_tokens": 3000}
