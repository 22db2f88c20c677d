"""Token usage of one request: actual use, and an estimate before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.media import is_text, media

_BYTES_PER_TOKEN = 4
"""Bytes of English text a token, roughly. The actual usage corrects the estimate."""
_DEFAULT_OUTPUT_TOKENS = 256
"""Tokens reserved for an answer if the request sets no maximum."""
_MOST_OUTPUT_TOKENS = 1_000_000_000
"""Maximum tokens to reserve: no model produces more, and rounding would lose precision."""
_BYTES_PER_AUDIO_TOKEN = 400
"""Bytes of a form or file for each token: compressed audio of 32 kbit/s, at 10 tokens a second."""
_DIGITS = 12
_MAXIMA = frozenset(
    {
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "max_tokens_to_sample",
        "n_predict",
        "num_predict",
    }
)
_INNER_MAXIMA = {
    "options": "num_predict",  # Ollama
    "parameters": "max_new_tokens",  # TGI
    "sampling_params": "max_new_tokens",  # SGLang
}
_ANSWERS = frozenset({"n", "best_of"})
"""Members of a request that set the number of answers."""
_OUTPUT_MEMBERS = frozenset({*_MAXIMA, *_INNER_MAXIMA, *_ANSWERS, "prompt"})
"""Members of a request that its output depends on."""


@dataclass(slots=True)
class Usage:
    """Tokens of one request. Do not change it: it is not frozen only because that would take 0.4 µs
    more for every request.
    """

    input: int
    output: int
    cached: int = field(default=0, compare=False)
    """Part of the input that was read from the backend's cache."""
    cache_write: int = field(default=0, compare=False)
    """Part of the input that was written to the backend's cache."""
    reasoning: int = field(default=0, compare=False)
    """Part of the output that is reasoning."""
    estimated: bool = field(default=False, compare=False)
    """True if only a part of the usage was reported, and the rest is estimated."""

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
        """Input and output tokens together."""
        return self.input + self.output


@dataclass(slots=True)
class Estimate:
    """Estimate of a request's usage, from its body. Do not change it; see `Usage`."""

    input: int
    output: int | None
    """Maximum tokens for all answers together; None if the request sets no maximum."""
    answers: int = 1
    """Number of answers requested."""
    media: int = 0
    """Part of the input that is images, audio, video and files."""

    def reserved(self, most: int | None, *, text: bool) -> Usage:
        """Return the usage to reserve. `most` is the maximum number of tokens in one answer of the
        model, if known; `text`: the answers are text.
        """
        output = self.output
        if output is None:
            output = self.answers * (most or _DEFAULT_OUTPUT_TOKENS) if text else 0
        # By position: with keywords, CPython 3.11 makes a dict for the call of a class.
        return Usage(self.input, min(output, _MOST_OUTPUT_TOKENS), 0, 0, 0, True)


def estimate(document: Mapping[str, Any], size_bytes: int) -> Estimate:
    """Estimate a request's usage: text and media in its body, and the maximum it sets for the
    output.

    `document` is the parsed body. It is empty for a body that is not a JSON object, which counts as
    audio. Of several maxima the largest counts, because it is not known which one a backend uses.
    """
    if not size_bytes:
        return Estimate(0, 0)
    if not document:
        return Estimate(size_bytes // _BYTES_PER_AUDIO_TOKEN + 1, None)
    tokens, text_bytes = 0, size_bytes
    if not is_text(document):
        chars, tokens = media(document)
        text_bytes = max(0, size_bytes - chars)
    input_ = text_bytes // _BYTES_PER_TOKEN + 1 + tokens
    if _OUTPUT_MEMBERS.isdisjoint(document):
        return Estimate(input_, None, 1, tokens)
    most, answers = 0, 1
    for name in _OUTPUT_MEMBERS.intersection(document):
        if name in _MAXIMA:
            most = max(most, _whole(document[name]))
        elif name in _INNER_MAXIMA:
            if isinstance(inner := document[name], dict):
                most = max(most, _whole(inner.get(_INNER_MAXIMA[name])))
        elif name in _ANSWERS:
            answers = max(answers, _whole(document[name]))
    prompt = document.get("prompt")
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        answers *= len(prompt)
    return Estimate(input_, most * answers if most else None, answers, tokens)


def estimate_unread(size_bytes: int) -> Estimate:
    """Estimate the usage of a body that was not parsed; it counts as text."""
    return Estimate(size_bytes // _BYTES_PER_TOKEN + 1, None) if size_bytes else Estimate(0, 0)


def _whole(value: Any) -> int:
    """Return a positive number as lenient backends read it, even from a float or a text, or 0."""
    if type(value) is int:
        return min(value, _MOST_OUTPUT_TOKENS) if value > 0 else 0
    if isinstance(value, str) and len(value) <= _DIGITS and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return int(min(value, _MOST_OUTPUT_TOKENS))
