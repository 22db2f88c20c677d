"""JSON of whatever there is to tell: who calls is called what a token says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


def as_json(document: Any) -> bytes:
    """Its bytes. What JSON does not know is told as text, and what UTF-8 does not know as `?`."""
    try:
        return orjson.dumps(document, default=str)
    except TypeError:  # half of a surrogate pair, or a number of more than 64 bits
        return orjson.dumps(_clean(document))


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_clean(name): _clean(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 1 << 63:
        return value
    return str(value).encode("utf-8", "replace").decode()
