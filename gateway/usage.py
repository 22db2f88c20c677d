"""LLM tokens: an estimate before a request is sent, and what the response says it used.

The response's bytes are not parsed on their way: its beginning and its end are kept, and looked
through once when it is over. Every dialect puts its numbers in one of the two.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import orjson

_HEAD_BYTES = 8 * 1024
_TAIL_BYTES = 32 * 1024
_BYTES_PER_TOKEN = 4
"""Of English text, about; never less than what is counted later for long."""
_DEFAULT_OUTPUT_TOKENS = 256
"""Reserved for an answer whose request sets no maximum."""
_MOST_OUTPUT_TOKENS = 10_000_000
"""Reserved at most: what no model can say would only lose what was used in rounding."""
_USAGE = re.compile(r'(?<!\\)"usage"\s*:\s*(?=\{)')
_EVAL = re.compile(r'(?<!\\)"(prompt_eval_count|eval_count)"\s*:\s*(\d{1,12})')
_DECODER = json.JSONDecoder()
_MAXIMA = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_WRITTEN, _READ = "cache_creation_input_tokens", "cache_read_input_tokens"
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")


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
    """The response did not say; it was judged by what it has shown."""

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


class UsageTap:
    """Listens to a response body."""

    __slots__ = ("_head", "_head_bytes", "_tail", "_tail_bytes", "bytes", "events")

    def __init__(self, head_bytes: int = _HEAD_BYTES, tail_bytes: int = _TAIL_BYTES) -> None:
        """What is kept of it: so much of the beginning, and up to twice as much of the end."""
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._head = b""
        self._tail = bytearray()
        self.bytes = 0
        self.events = 0
        """Events of a stream, about one for each token; lines, of Ollama's."""

    def feed(self, data: bytes) -> None:
        """A piece of the body. Called for each."""
        if self.bytes < self._head_bytes:
            self._head += data[: self._head_bytes - self.bytes]
        self.bytes += len(data)
        self.events += data.count(b"\n\n") or data.count(b"\n")
        tail = self._tail
        tail += data
        if len(tail) > 2 * self._tail_bytes:
            del tail[: -self._tail_bytes]

    @property
    def ends(self) -> tuple[bytes, bytearray]:
        """Its beginning and its end."""
        return self._head, self._tail

    def usage(self) -> Usage | None:
        """What the response said, or None if it did not."""
        found = [] if self.bytes <= len(self._tail) else _read(self._head)
        found += _read(bytes(self._tail))
        if not found:
            return None
        if len(found) == 1:
            return found[0]
        return Usage(
            max(one.input for one in found),
            max(one.output for one in found),
            max(one.cached for one in found),
            max(one.cache_write for one in found),
            max(one.reasoning for one in found),
        )

    def guess(self, asked: Usage) -> Usage:
        """For a response that broke off, or said nothing: what it has shown."""
        return Usage(
            asked.input if self.bytes else 0,
            self.events or self.bytes // _BYTES_PER_TOKEN,
            estimated=True,
        )


def _read(data: bytes) -> list[Usage]:
    if b'"usage"' not in data and b'eval_count"' not in data:
        return []
    text = data.decode("utf-8", "replace")
    found = []
    for match in _USAGE.finditer(text):
        try:
            said, _ = _DECODER.raw_decode(text, match.end())
        except ValueError:
            continue
        # Anthropic counts these beside the others.
        read, written = _count(said.get(_READ)), _count(said.get(_WRITTEN))
        found.append(
            Usage(
                _first(said, _INPUT) + read + written,
                _first(said, _OUTPUT),
                read or _detail(said, _INPUT_DETAILS, "cached_tokens"),
                written,
                _detail(said, _OUTPUT_DETAILS, "reasoning_tokens"),
            )
        )
    if 'eval_count"' in text:
        counted = {name: int(value) for name, value in _EVAL.findall(text)}
        found.append(Usage(counted.get("prompt_eval_count", 0), counted.get("eval_count", 0)))
    return [one for one in found if one.total]


# These run for every answer of a model: loops, for a generator costs as much as what it does here.


def _first(said: dict[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        if name in said and (value := _count(said[name])):
            return value
    return 0


def _detail(said: dict[str, Any], places: tuple[str, ...], name: str) -> int:
    for place in places:
        if place in said:
            details = said[place]
            return _count(details.get(name)) if isinstance(details, dict) else 0
    return 0


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 10**12 else 0
