"""What a backend's answer used, for the caller's: the same figures that are billed."""

from __future__ import annotations

from typing import Any

from gateway.dialects.translation.pieces import Tokens
from gateway.dialects.usage import told


def tokens_of(document: dict[str, Any]) -> Tokens | None:
    """The tokens that an answer, or an event of a stream, tells at its top level."""
    usage = told(document)
    if usage is None:
        return None
    return Tokens(usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning)
