"""LLM tokens: an estimate before a request is sent, and what the response says it used.

The response's bytes are not parsed on their way: its beginning and its end are kept, and looked
through once when it is over. Every dialect puts its numbers in one of the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
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
# Quotes inside an answer's text are escaped, so nothing that a model writes passes for these.
_SPELLINGS = (b'"usage":{', b'"usage": {')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_NUMBER = re.compile(rb"\s*:\s*(\d{1,12})")
_LONGEST_BYTES = 8 * 1024
"""Of an object of usage."""
_NEAR_BYTES = 2 * 1024
"""The beginning of an answer, and its end."""
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
        """What the response said, or None if it did not: the most of what its beginning and its end
        say, since Anthropic's tell the input in one and the output in the other.
        """
        tail = bytes(self._tail)
        head = tail if self.bytes <= len(tail) else self._head
        first_at, last_at = _first_place(head), _last_place(tail)
        last = _told(tail, last_at) if last_at >= 0 else _counted(tail)
        first = None if head is tail and first_at == last_at else _told(head, first_at)
        if first is None or last is None:
            return last if first is None else first
        return Usage(
            max(first.input, last.input),
            max(first.output, last.output),
            max(first.cached, last.cached),
            max(first.cache_write, last.cache_write),
            max(first.reasoning, last.reasoning),
        )

    def guess(self, asked: Usage) -> Usage:
        """For a response that broke off, or said nothing: what it has shown."""
        return Usage(
            asked.input if self.bytes else 0,
            self.events or self.bytes // _BYTES_PER_TOKEN,
            estimated=True,
        )


def _told(data: bytes, at: int) -> Usage | None:
    """What the object of usage at a place says."""
    if at < 0:
        return None
    text = data[at : at + _LONGEST_BYTES].decode("utf-8", "replace")
    try:
        said, _ = _DECODER.raw_decode(text)
    except ValueError:
        return None
    # Anthropic counts these beside the others.
    read, written = _count(said.get(_READ)), _count(said.get(_WRITTEN))
    found = Usage(
        _first(said, _INPUT) + read + written,
        _first(said, _OUTPUT),
        read or _detail(said, _INPUT_DETAILS, "cached_tokens"),
        written,
        _detail(said, _OUTPUT_DETAILS, "reasoning_tokens"),
    )
    return found if found.total else None


def _counted(data: bytes) -> Usage | None:
    """What Ollama's last line counts."""
    if b'eval_count"' not in data:
        return None
    found = Usage(_said_last(data, b'"prompt_eval_count"'), _said_last(data, b'"eval_count"'))
    return found if found.total else None


# Some backends tell usage with every event, others say with every event that it is null: only what
# is searched for as it stands, and near where it is looked for, is found without looking at each.


def _first_place(data: bytes) -> int:
    """Where the first object of usage begins, if it is near the beginning; -1 if not."""
    return _place(data, 0, _NEAR_BYTES, bytes.find)


def _last_place(data: bytes) -> int:
    """Where the last one begins, wherever it is; -1 if there is none."""
    at = _place(data, max(0, len(data) - _NEAR_BYTES), len(data), bytes.rfind)
    if at >= 0 or b'"usage"' not in data:
        return at
    return max((match.end() - 1 for match in _USAGE.finditer(data)), default=-1)


def _place(data: bytes, start: int, end: int, find: Callable[[bytes, bytes, int, int], int]) -> int:
    for spelling in _SPELLINGS:
        at = find(data, spelling, start, end)
        if at >= 0:
            return at + len(spelling) - 1
    return -1


def _said_last(data: bytes, name: bytes) -> int:
    at = data.rfind(name)
    match = _NUMBER.match(data, at + len(name)) if at >= 0 else None
    return int(match[1]) if match is not None else 0


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
