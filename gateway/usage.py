"""LLM tokens of one request: what it used, and what it may use, estimated before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.media import media

_BYTES_PER_TOKEN = 4
"""Of English text, about; never less than what is counted later for long."""
_DEFAULT_OUTPUT_TOKENS = 256
"""Reserved for an answer whose request sets no maximum."""
_MOST_OUTPUT_TOKENS = 1_000_000_000
"""Reserved at most: what no model can say would only lose what was used in rounding."""
_BYTES_PER_AUDIO_TOKEN = 400
"""Of a form or a file: compressed audio of 32 kbit/s, at 10 tokens for a second."""
_DIGITS = 12
_MAXIMA = (
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_tokens_to_sample",
    "n_predict",
    "num_predict",
)
_INNER_MAXIMA = (
    ("options", "num_predict"),  # Ollama
    ("parameters", "max_new_tokens"),  # TGI
    ("sampling_params", "max_new_tokens"),  # SGLang
)


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


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a request may use, by its body."""

    input: int
    output: int | None
    """The most that it lets its answers have, together; None: it sets no maximum."""
    answers: int = 1
    """How many it asks for."""

    def reserved(self, most: int | None, *, text: bool) -> Usage:
        """What to reserve. `most` is how many tokens an answer of its model has at most, if that is
        known; `text`: its answers are text.
        """
        output = self.output
        if output is None:
            output = self.answers * (most or _DEFAULT_OUTPUT_TOKENS) if text else 0
        return Usage(self.input, min(output, _MOST_OUTPUT_TOKENS), estimated=True)


def estimate(document: Mapping[str, Any], size_bytes: int) -> Estimate:
    """What a request may use: the text and media in its body, and the most it lets a model say.

    `document` is the parsed body; empty for a body that is not a JSON object, which is taken for
    audio. Of several maxima the largest counts: which one a backend heeds is not known.
    """
    if not size_bytes:
        return Estimate(0, 0)
    if not document:
        return Estimate(size_bytes // _BYTES_PER_AUDIO_TOKEN + 1, None)
    chars, tokens = media(document)
    input_ = max(0, size_bytes - chars) // _BYTES_PER_TOKEN + 1 + tokens
    maxima = [_whole(document[name]) for name in _MAXIMA if name in document]
    for holder, name in _INNER_MAXIMA:
        if holder in document and isinstance(inner := document[holder], dict):
            maxima.append(_whole(inner.get(name)))
    answers = max(1, _whole(document.get("n")), _whole(document.get("best_of")))
    prompt = document.get("prompt")
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        answers *= len(prompt)
    most = max(maxima, default=0)
    return Estimate(input_, most * answers if most else None, answers)


def estimate_unread(size_bytes: int) -> Estimate:
    """The same of a body that nobody has looked into; taken for text."""
    return Estimate(size_bytes // _BYTES_PER_TOKEN + 1, None) if size_bytes else Estimate(0, 0)


def _whole(value: Any) -> int:
    """A positive number as lenient backends read it: as a float or a text, too. 0: it is none."""
    if isinstance(value, str) and len(value) <= _DIGITS and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return int(min(value, _MOST_OUTPUT_TOKENS))
