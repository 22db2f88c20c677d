"""Requests in OpenAI's dialect."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dialects.translation.bodies import (
    HI,
    chat,
    history,
    read,
    says,
    translated,
)


@pytest.mark.parametrize("kind", ["function", "FUNCTION", "", None])
def test_the_type_of_a_call_in_any_case_is_a_function(kind: str | None) -> None:
    body = history("{}")
    body["messages"][1]["tool_calls"][0]["type"] = kind
    assert translated("openai", "anthropic", body) == translated(
        "openai", "anthropic", history("{}")
    )


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
