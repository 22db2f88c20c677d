"""Complete the JSON schemas of tool arguments so that every backend accepts them."""

from __future__ import annotations

from typing import Any


def object_schema(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return the schema with `type` and, for an object, `properties`.

    Callers omit both for tools without arguments. Anthropic refuses a schema without `type`, OpenAI
    one without `properties`, and chat templates of open models read both without a check.
    """
    schema = schema or {}
    if "type" not in schema:
        schema = {"type": "object", **schema}
    if schema["type"] == "object" and not isinstance(schema.get("properties"), dict):
        schema = {**schema, "properties": {}}
    return schema
