"""How backends say that a prompt is too long for a model: in many ways, and never with a status."""

from __future__ import annotations

import re

STATUSES = frozenset({400, 413, 422})
"""With which they say it."""
LONGEST_BYTES = 64 * 1024
"""A refusal is short; a longer body is something else."""

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
    """Whether an answer says that another model, with more room, might serve the request."""
    return status in STATUSES and _TOO_LONG.search(body) is not None
