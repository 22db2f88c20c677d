"""Efforts of reasoning, as a backend knows them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.translation.options import EFFORTS, TranslationOptions
from tests.dialects.translation.bodies import chat, dropped, read
from tests.dialects.translation.wire import SIDES


def translated(one: str, other: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    return SIDES[other].write(read(one, body), TranslationOptions(**options))


@pytest.mark.parametrize(
    ("asked", "known", "told"),
    [
        ("minimal", (), "low"),
        ("xhigh", (), "high"),
        ("max", (), "high"),
        ("medium", (), "medium"),
        ("max", EFFORTS, "max"),
        ("medium", ("low", "high"), "low"),
        ("none", (), "none"),
        ("none", ("low", "high"), None),
        ("turbo", (), "turbo"),
    ],
)
def test_an_effort_that_the_backend_does_not_know_becomes_the_nearest(
    asked: str, known: tuple[str, ...], told: str | None
) -> None:
    body = chat(reasoning_effort=asked)
    written = translated("openai", "openai", body, efforts=known)
    assert written.get("reasoning_effort") == told
    assert dropped("openai", "openai", body, efforts=known) == ([] if told else ["thinking"])


def test_an_effort_for_anthropic_may_be_limited_too() -> None:
    body = chat(reasoning_effort="xhigh")
    assert translated("openai", "anthropic", body)["output_config"] == {"effort": "xhigh"}
    known = ("low", "medium", "high", "max")
    written = translated("openai", "anthropic", body, efforts=known)
    assert written["output_config"] == {"effort": "high"}
