"""Recognize errors that say a prompt is too long for a model.

Each backend words them differently, and none has a status code of its own for them.
"""

from __future__ import annotations

import re

STATUSES = frozenset({400, 413, 422})
"""Status codes of such errors."""
FIELD_STATUSES = frozenset({400, 422})
"""Status codes of errors that may refuse a single field of a request."""
LONGEST_BYTES = 64 * 1024
"""Maximum bytes of a body to examine. A longer one is not such an error."""

# OpenAI, Azure: context_length_exceeded; vLLM, SGLang: "maximum context length is", "longer than
# the maximum model length"; llama.cpp: exceed_context_size_error; Anthropic: "prompt is too long",
# "exceed context limit"; Gemini: "exceeds the maximum number of tokens"; xAI: "maximum prompt
# length"; TGI: "inputs tokens + max_new_tokens".
_TOO_LONG = re.compile(
    rb"context[_ ](?:length|size|window|limit)|(?:prompt|input) is too long"
    rb"|maximum (?:model|prompt) length|exceeds the maximum number of tokens"
    rb"|`?inputs`? tokens \+ `?max_new_tokens",
    re.IGNORECASE,
)


def too_long(status: int, body: bytes) -> bool:
    """True if an error response says that a model with a larger context might serve the request."""
    return status in STATUSES and _TOO_LONG.search(body) is not None
