"""Model lists in OpenAI's dialect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson


def listing(names: Iterable[str]) -> bytes:
    """List models: https://platform.openai.com/docs/api-reference/models/list"""
    return orjson.dumps({"object": "list", "data": [_entry(name) for name in names]})


def entry(name: str) -> bytes:
    """Return the entry of one model."""
    return orjson.dumps(_entry(name))


def _entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "gateway"}
