"""LLM tokens of one request: what it used, and what it may use, estimated before it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

_BYTES_PER_TOKEN = 4
"""Of English text, about; never less than what is counted later for long."""
_DEFAULT_OUTPUT_TOKENS = 256
"""Reserved for an answer whose request sets no maximum."""
_MOST_OUTPUT_TOKENS = 10_000_000
"""Reserved at most: what no model can say would only lose what was used in rounding."""
_MAXIMA = ("max_completion_tokens", "max_output_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request."""

    input: int
    output: int
    cached: int = field(default=0, compare=False)
    """Of the input: read from the backend's cache."""
    cache_write: int = field(default=0, compare=False)
    """Of the input: written to it."""
    reasoning: int = field(default=0, compare=False)
    """Of the output: thoughts."""
    estimated: bool = field(default=False, compare=False)
    """The answer did not tell all of it; the rest is judged by what it has shown."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.cache_write + other.cache_write,
            self.reasoning + other.reasoning,
            self.estimated or other.estimated,
        )

    @property
    def total(self) -> int:
        """Both."""
        return self.input + self.output


def estimate(body: bytes | None) -> Usage:
    """What a request may use: its length, and the most it lets the model say."""
    if not body:
        return Usage(0, 0)
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        return Usage(len(body) // _BYTES_PER_TOKEN + 1, 0)
    options = document.get("options")
    places = [document.get(name) for name in _MAXIMA]
    places.append(options.get("num_predict") if isinstance(options, dict) else None)
    maxima = [n for n in places if isinstance(n, int) and not isinstance(n, bool) and n > 0]
    talks = "messages" in document or "prompt" in document
    talks = talks or ("input" in document and "stream" in document)
    output = min(*maxima, _MOST_OUTPUT_TOKENS) if maxima else _DEFAULT_OUTPUT_TOKENS if talks else 0
    several = document.get("n")
    if isinstance(several, int) and 1 < several <= 128:
        output *= several
    return Usage(len(body) // _BYTES_PER_TOKEN + 1, output)
