"""Plain messages for pydantic's errors, in the terms of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.config.units import bound_text

_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "dict_type": "has to be a mapping",
    "tuple_type": "has to be a list, such as [a, b]",
    "list_type": "has to be a list, such as [a, b]",
    "bool_type": "has to be true or false",
    "bool_parsing": "has to be true or false",
    "int_type": "has to be a whole number",
    "int_parsing": "has to be a whole number",
    "int_from_float": "has to be a whole number",
    "float_type": "has to be a number",
    "float_parsing": "has to be a number",
    "string_type": "has to be text",
}

_BOUNDS: Mapping[str, tuple[str, str]] = {
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
}
"""Key in `ctx` and words of each error about a range."""


def in_words(
    kind: str,
    message: str,
    context: Mapping[str, Any],
    fields: Sequence[str] = (),
    written: object = None,
) -> str:
    """Return the message for an error of pydantic, given by its `type`, `msg` and `ctx`. `fields`
    are the keys that are allowed in its place, `written` is the value in the file.
    """
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"has to be {words} {bound_text(context[key], written)}"
    if kind in ("model_type", "model_attributes_type"):
        if context.get("class_name") == "Secret":
            return "has to be a secret: {env: NAME}, {file: PATH} or {command: [PROGRAM]}"
        return (
            f"has to be a mapping, such as {{{fields[0]}: ...}}" if fields else _WORDS["dict_type"]
        )
    if kind == "value_error":
        return str(context["error"])
    if kind == "union_tag_invalid":
        expected = context["expected_tags"]
        return f"{context['discriminator'].strip(chr(39))} has to be one of {expected}"
    if kind == "union_tag_not_found":
        return f"{context['discriminator'].strip(chr(39))} is missing"
    if kind == "literal_error":
        return f"has to be one of {context['expected']}"
    if message.startswith("Input should be "):
        return "has to be " + message.removeprefix("Input should be ")
    return message[:1].lower() + message[1:]
