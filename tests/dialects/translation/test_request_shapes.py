"""Requests in the shapes that clients really send: each becomes what the other side accepts."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.dialects.anthropic import requests as anthropic_requests
from gateway.dialects.ollama import embeddings as ollama_embeddings
from gateway.dialects.ollama import requests as ollama_requests
from gateway.dialects.openai import embeddings as openai_embeddings
from gateway.dialects.openai import requests as openai_requests
from gateway.dialects.translation.options import ThinkingWord, TranslationOptions
from gateway.dialects.translation.translation import Translation
from tests.dialects.translation.bodies import HI, OPTIONS, PNG, chat, dropped, history, read, says
from tests.dialects.translation.wire import SIDES

EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def translated(one: str, other: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    return SIDES[other].write(read(one, body), TranslationOptions(**options))


# -- histories -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("told", "sent"), [(-1, 4096), (0, 4096), (10.0, 10)])
def test_a_maximum_is_what_anthropic_takes(told: float, sent: int) -> None:
    assert translated("openai", "anthropic", chat(max_tokens=told))["max_tokens"] == sent


def test_half_a_character_in_a_large_body_is_translated() -> None:
    body = rb'{"model":"m","messages":[{"role":"user","content":"cut\ud83d"}]}'
    translation = Translation("openai", "anthropic", TranslationOptions())
    asked = translation.ask_body("/v1/chat/completions", body)
    assert orjson.loads(asked.body)["messages"][0]["content"] == "cut\ufffd"


@pytest.mark.parametrize("kind", ["function", "FUNCTION", "", None])
def test_the_type_of_a_call_in_any_case_is_a_function(kind: str | None) -> None:
    body = history("{}")
    body["messages"][1]["tool_calls"][0]["type"] = kind
    assert translated("openai", "anthropic", body) == translated(
        "openai", "anthropic", history("{}")
    )


def test_a_name_that_a_model_made_up_is_fitted_to_what_anthropic_takes() -> None:
    body = history("{}")
    body["messages"][1]["tool_calls"][0]["function"]["name"] = "functions.get weather:1"
    block = translated("openai", "anthropic", body)["messages"][1]["content"][0]
    assert block["name"] == "functions_get_weather_1"


def test_what_clients_give_back_of_answers_is_no_reason_to_refuse() -> None:
    message = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
            {"type": "text", "text": "Yes."},
        ],
        "refusal": None,
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "annotations": [{"type": "url_citation"}],
        "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}],
        "provider_specific_fields": {"x": 1},
    }
    body = translated("openai", "ollama", chat(HI, message, HI))
    assert body["messages"][1] == {"role": "assistant", "content": "Yes.", "thinking": "Hm."}


# -- parts ---------------------------------------------------------------------------------------


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


def test_a_blank_stop_sequence_is_dropped_and_told() -> None:
    body = chat(stop=["END", "\n\n"])
    assert translated("openai", "anthropic", body)["stop_sequences"] == ["END"]
    assert dropped("openai", "anthropic", body) == ["stop"]
    assert "stop_sequences" not in translated("openai", "anthropic", chat(stop="\n"))
    assert translated("openai", "ollama", body)["options"]["stop"] == ["END", "\n\n"]


# -- tools ---------------------------------------------------------------------------------------


# -- single fields -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "longest"), [("anthropic", "openai", 64), ("openai", "anthropic", 256)]
)
def test_a_user_that_is_too_long_is_hashed(one: str, other: str, longest: int) -> None:
    for length in (1, longest, longest + 1, 1000):
        user = "u" * length
        body = says(metadata={"user_id": user}) if one == "anthropic" else chat(user=user)
        written = translated(one, other, body)
        told = written["user"] if other == "openai" else written["metadata"]["user_id"]
        hashed = hashlib.sha256(user.encode()).hexdigest()
        assert told == (user if length <= longest else hashed)
        assert len(told) <= longest


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_maximum_stands_where_the_backend_looks_for_it(field: str) -> None:
    other = {"max_tokens": "max_completion_tokens"}.get(field, "max_tokens")
    written = translated("anthropic", "openai", says(), max_tokens_field=field)
    assert (written[field], other in written) == (100, False)
    refused = frozenset({field})
    written = translated("anthropic", "openai", says(), max_tokens_field=field, refused=refused)
    assert (written[other], field in written) == (100, False)


def test_usage_of_a_stream_is_asked_for_where_the_backend_takes_that() -> None:
    body = says(stream=True)
    assert translated("anthropic", "openai", body)["stream_options"] == {"include_usage": True}
    refused = frozenset({"stream_options"})
    assert "stream_options" not in translated("anthropic", "openai", body, refused=refused)


# -- for Claude, from callers of OpenAI's dialect ------------------------------------------------


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


THINKING = {"type": "enabled", "budget_tokens": 5000}


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


@pytest.mark.parametrize(
    ("fields", "thinking", "effort", "ollama"),
    [
        ({"reasoning": {"effort": "high"}}, "adaptive", "high", True),
        ({"reasoning": {"effort": "none"}}, "disabled", None, False),
        ({"reasoning": {"max_tokens": 8192}}, "adaptive", "medium", True),
        ({"reasoning": {"enabled": True}}, "adaptive", None, True),
        ({"reasoning": {"enabled": False}}, "disabled", None, False),
        ({"reasoning": {"exclude": True}}, None, None, None),
        ({"include_reasoning": True}, None, None, None),
        ({"enable_thinking": False}, "disabled", None, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "adaptive", None, True),
        ({"chat_template_kwargs": {"thinking": False}}, "disabled", None, False),
        ({"thinking": {"type": "disabled"}}, "disabled", None, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "enabled", None, True),
    ],
)
def test_thinking_is_asked_for_in_any_words(
    fields: dict[str, Any], thinking: str | None, effort: str | None, ollama: bool | None
) -> None:
    written = translated("openai", "anthropic", chat(**fields))
    assert written.get("thinking", {}).get("type") == thinking
    assert written.get("output_config", {}).get("effort") == effort
    assert translated("openai", "ollama", chat(**fields)).get("think") is ollama


def test_a_budget_in_tokens_is_carried_where_there_is_one() -> None:
    body = chat(reasoning={"max_tokens": 3000}, max_tokens=9000)
    written = translated("openai", "anthropic", body, thinking=ThinkingWord.BUDGET)
    assert written["thinking"] == {"type": "enabled", "budget_tokens": 3000}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, True),
        ({"include_reasoning": True}, True),
        ({"include_reasoning": False}, False),
        ({"reasoning": {"exclude": True}}, False),
        ({"reasoning": {"exclude": False}}, True),
    ],
)
def test_who_does_not_want_to_see_the_thinking_is_not_shown_it(
    fields: dict[str, Any], shown: bool
) -> None:
    assert read("openai", chat(**fields)).include_thinking is shown


# -- what is dropped is told ---------------------------------------------------------------------

DOCS = (Path(__file__).parents[3] / "docs/dialects.md").read_text()
TABLES = {
    "OpenAI": (
        openai_requests,
        (
            "DROPPED",
            "DROPPED_OF_MESSAGES",
            "DROPPED_OF_CALLS",
            "DROPPED_OF_PARTS",
            "DROPPED_OF_IMAGES",
            "DROPPED_OF_REASONING",
        ),
    ),
    "Anthropic": (
        anthropic_requests,
        ("DROPPED", "DROPPED_OF_BLOCKS", "DROPPED_OF_TOOLS", "DROPPED_OF_THINKING"),
    ),
    "Ollama": (ollama_requests, ("DROPPED", "DROPPED_OF_OPTIONS")),
}


@pytest.mark.parametrize("dialect", TABLES)
def test_the_page_lists_every_field_that_is_dropped_and_no_other(dialect: str) -> None:
    module, names = TABLES[dialect]
    fields = {field for name in names for field in getattr(module, name)}
    if dialect == "Ollama":
        fields |= set(ollama_embeddings.DROPPED)
    if dialect == "OpenAI":
        fields |= set(openai_embeddings.DROPPED)
    section = DOCS.partition("## Dropped fields")[2].partition("\n## ")[0]
    (item,) = re.findall(rf"^- {dialect}: (.*?)(?=^- |^$)", section, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`([a-z0-9_]+)`", item)) == fields


def test_no_table_of_dropped_fields_is_forgotten() -> None:
    for module, names in TABLES.values():
        assert {name for name in vars(module) if name.startswith("DROPPED")} == set(names)


def test_fields_that_are_dropped_are_told_by_name_and_once() -> None:
    message = {"role": "user", "content": "Hi", "name": "ann"}
    body = chat(message, message, metadata={"a": "b"}, store=False, verbosity="low")
    assert dropped("openai", "anthropic", body) == ["messages.name", "metadata", "verbosity"]
    block = {"type": "text", "text": "Hi", "cache_control": EPHEMERAL}
    asked = says({"role": "user", "content": [block, block]}, service_tier="auto")
    assert dropped("anthropic", "openai", asked) == [
        "messages.content.cache_control",
        "service_tier",
    ]
    assert dropped("ollama", "openai", chat(options={"num_ctx": 9})) == ["options.num_ctx"]


# -- a guess at tokens ---------------------------------------------------------------------------
