"""JSON encoding that accepts any value, since tokens and requests may contain anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


def as_json(document: Any) -> bytes:
    """Encode as JSON. Other types become text; characters that UTF-8 cannot encode become `?`."""
    try:
        return orjson.dumps(document, default=str)
    except TypeError:  # half of a surrogate pair, or an integer of more than 64 bits
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
