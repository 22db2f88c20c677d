"""Reading what backends answer, who are not refused for a field of a wrong type."""

from __future__ import annotations

from typing import Any

import orjson


def parsed(data: bytes) -> dict[str, Any] | None:
    """A JSON object, or None if it is not one."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def text_in(document: dict[str, Any], key: str) -> str:
    """A string; empty if there is none."""
    value = document.get(key)
    return value if isinstance(value, str) else ""


def object_in(document: dict[str, Any], key: str) -> dict[str, Any]:
    """An object; empty if there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def count(document: dict[str, Any], key: str) -> int:
    """A number of tokens; 0 if there is none."""
    value = document.get(key)
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12
    return value if good and isinstance(value, int) else 0
