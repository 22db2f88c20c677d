"""Parts of the JSON Schemas (draft 2020-12) that describe a dialect's request bodies.

Unknown fields are always allowed, and every optional field may be null, as clients send it. A value
that may be of several types has one list of types instead of `anyOf`, so that an error names the
field inside of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1}
OBJECT: Schema = {"type": "object"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
MAYBE_FLAG: Schema = {"type": ["boolean", "null"]}
MAYBE_OBJECT: Schema = {"type": ["object", "null"]}
MAYBE_TEXTS: Schema = {"type": ["array", "null"], "items": TEXT}
TEXT_OR_OBJECT: Schema = {"type": ["string", "object", "null"]}


def maybe_whole(least: int | None = None, most: int | None = None) -> Schema:
    """Return the schema of an optional integer."""
    return {"type": ["integer", "null"], **_range(least, most)}


def maybe_number(least: float | None = None, most: float | None = None) -> Schema:
    """Return the schema of an optional number."""
    return {"type": ["number", "null"], **_range(least, most)}


def record(
    properties: Mapping[str, Schema], required: Sequence[str] = (), *, null: bool = False
) -> dict[str, Any]:
    """Return the schema of an object with these fields. With `null`, null is allowed, too."""
    schema: dict[str, Any] = {
        "type": ["object", "null"] if null else "object",
        "properties": dict(properties),
    }
    if required:
        schema["required"] = list(required)
    return schema


def chosen_by(field: str, variants: Mapping[str, Schema], **common: Any) -> dict[str, Any]:
    """Return the schema of an object whose further fields depend on a text in `field`. Other texts
    than those of `variants` are not checked further. `common` are keywords for all of them.
    """
    return {
        **common,
        "allOf": [
            {
                "if": {"properties": {field: {"const": value}}, "required": [field]},
                "then": variant,
            }
            for value, variant in variants.items()
        ],
    }


def text_or_list(items: Schema, *, null: bool = False, **more: Any) -> Schema:
    """Return the schema of a text, or of a list whose items have the schema `items`. `more` are
    further keywords.
    """
    return {"type": ["string", "array", *(["null"] if null else [])], "items": items, **more}


def maybe_list(items: Schema) -> Schema:
    """Return the schema of an optional list."""
    return {"type": ["array", "null"], "items": items}


def _range(least: float | None, most: float | None) -> dict[str, float]:
    bounds = {"minimum": least, "maximum": most}
    return {key: bound for key, bound in bounds.items() if bound is not None}
