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
from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.translation import Translation
from tests.dialects.translation.bodies import (
    chat,
    dropped,
    says,
    translated,
)

EPHEMERAL = {"type": "ephemeral"}


def test_half_a_character_in_a_large_body_is_translated() -> None:
    body = rb'{"model":"m","messages":[{"role":"user","content":"cut\ud83d"}]}'
    translation = Translation("openai", "anthropic", TranslationOptions())
    asked = translation.ask_body("/v1/chat/completions", body)
    assert orjson.loads(asked.body)["messages"][0]["content"] == "cut\ufffd"


def test_a_blank_stop_sequence_is_dropped_and_told() -> None:
    body = chat(stop=["END", "\n\n"])
    assert translated("openai", "anthropic", body)["stop_sequences"] == ["END"]
    assert dropped("openai", "anthropic", body) == ["stop"]
    assert "stop_sequences" not in translated("openai", "anthropic", chat(stop="\n"))
    assert translated("openai", "ollama", body)["options"]["stop"] == ["END", "\n\n"]


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
