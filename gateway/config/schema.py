"""JSON Schema of the configuration, for editors."""

from __future__ import annotations

from typing import Any

from gateway.config.models import Config

_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12). Every scalar value may also be a variable `${ENV}`."""
    schema = Config.model_json_schema()
    _allow_variables(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gateway configuration",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _allow_variables(node: Any) -> None:
    """Allow a variable for any scalar. Descriptions and defaults stay as they are."""
    if isinstance(node, list):
        for item in node:
            _allow_variables(item)
        return
    if not isinstance(node, dict):
        return
    node.pop("title", None) if isinstance(node.get("title"), str) else None
    for value in list(node.values()):
        _allow_variables(value)
    scalar = node.get("type") in ("integer", "number", "boolean") or (
        node.get("type") == "string" and ("enum" in node or "pattern" in node)
    )
    if scalar or "const" in node:
        keep = {key: node.pop(key) for key in ("description", "default") if key in node}
        inner = dict(node)
        node.clear()
        node.update({"anyOf": [inner, _VARIABLE], **keep})
