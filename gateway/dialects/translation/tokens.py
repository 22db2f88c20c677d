"""Convert a backend's token usage for the caller's response: the same numbers that are billed."""

from __future__ import annotations

from typing import Any

from gateway.dialects.translation.pieces import Tokens
from gateway.dialects.usage import told


def tokens_of(document: dict[str, Any]) -> Tokens | None:
    """Return the token counts that a response or event reports at its top level, or None."""
    usage = told(document)
    if usage is None:
        return None
    return Tokens(usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning)
