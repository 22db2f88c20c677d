"""Read values in backend responses. A field of the wrong type counts as absent."""

from __future__ import annotations

import json
from typing import Any

import orjson

from gateway.dialects.translation.halves import mended


def parsed(data: bytes) -> dict[str, Any] | None:
    """Parse a JSON object; None if it is not one.

    Strings may hold half a character; see `halves`.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = _parsed_leniently(data)
    return document if isinstance(document, dict) else None


def _parsed_leniently(data: bytes) -> Any:
    """Parse JSON that orjson refuses but backends send: NaN, half a character, a raw line break."""
    try:
        return json.loads(data.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError):
        return None


def text_in(document: dict[str, Any], key: str) -> str:
    """Return a string member; empty if there is none."""
    value = document.get(key)
    return mended(value) if isinstance(value, str) else ""


def object_in(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return an object member; empty if there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def count(document: dict[str, Any], key: str) -> int:
    """Return a token count; 0 if there is none."""
    value = document.get(key)
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12
    return value if good and isinstance(value, int) else 0


def json_text(value: Any) -> str:
    """Serialize a value to JSON. Raise orjson.JSONEncodeError if it is nested too deeply."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        # A string holds half a character, or a number has more than 64 bits.
        try:
            return json.dumps(_mended_inside(value, 100), separators=(",", ":"))
        except (ValueError, RecursionError) as exc:
            raise orjson.JSONEncodeError(str(exc)) from exc


def _mended_inside(value: Any, depth: int) -> Any:
    if depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, list):
        return [_mended_inside(one, depth - 1) for one in value]
    if isinstance(value, dict):
        return {mended(key): _mended_inside(one, depth - 1) for key, one in value.items()}
    return value
