"""Schemas of tools' arguments, as every backend takes them."""

from __future__ import annotations

from typing import Any


def object_schema(schema: dict[str, Any] | None) -> dict[str, Any]:
    """A schema that says it is of an object, and which properties that has.

    Callers leave out both for tools without arguments. Anthropic refuses a schema without `type`,
    OpenAI one without `properties`, and templates of open models read them unasked.
    """
    schema = schema or {}
    if "type" not in schema:
        schema = {"type": "object", **schema}
    if schema["type"] == "object" and not isinstance(schema.get("properties"), dict):
        schema = {**schema, "properties": {}}
    return schema
