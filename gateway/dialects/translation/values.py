"""Reading what backends answer. A field of a wrong type counts as absent."""

from __future__ import annotations

import json
from typing import Any

import orjson

from gateway.dialects.translation.halves import mended


def parsed(data: bytes) -> dict[str, Any] | None:
    """A JSON object, or None if it is not one. Strings may hold half a character: see `halves`."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = _parsed_leniently(data)
    return document if isinstance(document, dict) else None


def _parsed_leniently(data: bytes) -> Any:
    """What orjson refuses though backends send it: NaN, half a character, a raw line break."""
    try:
        return json.loads(data.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError):
        return None


def text_in(document: dict[str, Any], key: str) -> str:
    """A string; empty if there is none."""
    value = document.get(key)
    return mended(value) if isinstance(value, str) else ""


def object_in(document: dict[str, Any], key: str) -> dict[str, Any]:
    """An object; empty if there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def count(document: dict[str, Any], key: str) -> int:
    """A number of tokens; 0 if there is none."""
    value = document.get(key)
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12
    return value if good and isinstance(value, int) else 0


def json_text(value: Any) -> str:
    """A value as JSON. Raise orjson.JSONEncodeError for one that is nested too deeply."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        # Half a character in some string, or a number of more than 64 bits.
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
