"""Schemas of tools are completed."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.translation.options import TranslationOptions
from tests.dialects.translation.bodies import chat, read, says
from tests.dialects.translation.wire import SIDES


def translated(one: str, other: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    return SIDES[other].write(read(one, body), TranslationOptions(**options))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, {"type": "object", "properties": {}}),
        ({}, {"type": "object", "properties": {}}),
        ({"type": "object"}, {"type": "object", "properties": {}}),
        ({"type": "object", "properties": None}, {"type": "object", "properties": {}}),
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({"$ref": "#/x"}, {"type": "object", "properties": {}, "$ref": "#/x"}),
    ],
)
def test_a_schema_without_type_or_properties_gets_them(
    schema: Any, expected: dict[str, Any]
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = chat(tools=[tool])
    assert translated("openai", "anthropic", body)["tools"][0]["input_schema"] == expected
    assert translated("openai", "ollama", body)["tools"][0]["function"]["parameters"] == expected
    asked = says(tools=[{"name": "f", "input_schema": schema}])
    function = translated("anthropic", "openai", asked)["tools"][0]["function"]
    assert function["parameters"] == expected
