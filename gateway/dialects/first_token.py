"""Find the first token of a stream: the first event with content, reasoning or a tool call.

The time until then is the time to first token (TTFT). A chunk that only names the role, a ping,
`message_start`, `response.created` and an empty delta do not count. Dialects are recognized by the
shape of their events, because one route may serve several (such as OpenAI's chat, completions and
Responses).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.continuation import Splitter
from gateway.dialects.json_lines import Lines
from gateway.sse import Event, EventSplitter, EventTooLarge

_DONE = b"[DONE]"
_CHAT_TOKEN = re.compile(
    rb'"choices":\[\{[^][{}]*"delta":\{(?:"role":"assistant",)?"content":"[^"]'
)
"""Match the first token of nearly every chat, as backends write it. It cannot match inside a
string, where quotes are escaped.
"""
_LARGE_BYTES = 64 * 1024
"""Events above this size are judged by their start: parsing them would block the event loop."""
_BEGINNING = re.compile(
    rb'"type"\s*:\s*"(?:message_start|response\.(?:created|queued|in_progress))"'
)
_BEGINNING_BYTES = 256
_CONTENT = frozenset(
    {"content", "reasoning_content", "reasoning", "reasoning_details", "thinking"}
    | {"thinking_blocks", "tool_calls", "function_call", "refusal", "audio", "text", "response"}
)
"""Members of a delta, message or line that hold generated output."""
_EMPTY_ITEMS = (
    *("response.output_item.added", "response.content_part.added"),
    "response.reasoning_summary_part.added",
)
_KINDS = frozenset({"type", "index", "format"})
_DEEPEST = 5
_WITHOUT_TOKEN = frozenset(
    {"ping", "error", "message_start", "message_delta", "message_stop", "content_block_stop"}
    | {"response.created", "response.queued", "response.in_progress", "response.failed"}
    | {"response.incomplete", "keepalive", *_EMPTY_ITEMS}
)


class FirstToken:
    """First-token detector for one stream. Stop feeding it after it has returned True."""

    __slots__ = ("_lines", "_splitter")

    def __init__(self, lines: bool) -> None:
        """Create a detector for NDJSON (`lines`, as Ollama's) or for server-sent events."""
        self._lines = lines
        self._splitter: Splitter | None = None
        """Splitter, made only for a stream that has more than whole events of a simple form."""

    def restart(self) -> None:
        """Begin another stream: drop the event that the last one left unfinished."""
        self._splitter = None

    def feed(self, data: bytes) -> bool:
        """Return True if an event that ends in this data carries the first token."""
        if self._splitter is None:
            if data.endswith(b"\n\n") and _CHAT_TOKEN.search(data) is not None:
                return True  # parsing the event would take ten times as long
            documents = _lines(data) if self._lines else _documents(data)
            if documents is not None:
                return any(map(_is_token, documents))
            self._splitter = Lines() if self._lines else EventSplitter()
        try:
            events = self._splitter.feed(data)
        except EventTooLarge:
            return True
        return any(map(_has_token, events))


def _lines(data: bytes) -> list[bytes] | None:
    """Return the documents of whole lines, or None if the last line is incomplete."""
    return [line.strip() for line in data.split(b"\n")] if data.endswith(b"\n") else None


def _documents(data: bytes) -> list[bytes] | None:
    """Return the documents of whole events with one `data` line each, and at most an `event` line
    before it. Return None for events of another form, or with a part of one.
    """
    if not data.endswith(b"\n\n") or data.find(b"\r") >= 0:
        return None
    end = len(data) - 2
    if data.find(b"\n") == end and data.startswith(b"data: {"):
        return [data[len(b"data: ") : end]]  # nearly always: one event of one line
    documents = []
    for event in data[:end].split(b"\n\n"):
        line = event
        if event.startswith(b"event: "):
            before, _, line = event.partition(b"\n")
            if before == b"event: ping":
                continue
        if not line.startswith((b"data: {", b"data: [DONE]")) or line.find(b"\n") >= 0:
            return None
        documents.append(line[len(b"data: ") :])
    return documents


def _has_token(event: Event) -> bool:
    return event.type != b"ping" and _is_token(event.data)


def _is_token(data: bytes | None) -> bool:
    """True if the data of an event carries a token."""
    if not data or data == _DONE:
        return False
    if len(data) > _LARGE_BYTES:
        return _BEGINNING.search(data, 0, _BEGINNING_BYTES) is None
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return True  # a stream of plain text
    return carries_token(document) if isinstance(document, dict) else bool(document)


def carries_token(document: Mapping[str, Any]) -> bool:
    """True if an event's document carries content, reasoning or a tool call. A document of unknown
    shape counts unless it reports an error.
    """
    choices = document.get("choices")
    if isinstance(choices, list):  # OpenAI's chat and completions
        return any(map(_of_choice, choices))
    kind = document.get("type")
    if isinstance(kind, str):  # Anthropic, Responses
        return _typed(kind, document)
    message = document.get("message")
    if isinstance(message, dict):  # Ollama's chat
        return _any(message)
    if "done" in document:  # Ollama's generate
        return _any(document)
    return bool(document) and "error" not in document


def _of_choice(choice: object) -> bool:
    if not isinstance(choice, dict):
        return False
    for name in ("delta", "message"):
        if isinstance(one := choice.get(name), dict) and _any(one):
            return True
    return _any(choice)


def _any(holder: Mapping[str, Any]) -> bool:
    """True if a member for generated output holds any."""
    for name, value in holder.items():
        if value and name in _CONTENT and _holds(value, _DEEPEST):
            return True
    return False


def _holds(value: Any, depth: int) -> bool:
    """True if a value holds anything but empty members and names of its kind: backends open a part
    or a call with empty text.
    """
    if not value or not depth:
        return bool(value)
    if isinstance(value, list):
        return any(_holds(item, depth - 1) for item in value)
    if isinstance(value, dict):
        for name, item in value.items():
            if item and name not in _KINDS and _holds(item, depth - 1):
                return True
        return False
    return True


def _typed(kind: str, document: Mapping[str, Any]) -> bool:
    if kind == "content_block_start":
        block = document.get("content_block")
        return isinstance(block, dict) and _block(block)
    if kind == "response.output_item.added":
        item = document.get("item")
        return isinstance(item, dict) and str(item.get("type")).endswith("_call")
    if kind in _WITHOUT_TOKEN:
        return False
    if kind.endswith("delta"):
        delta = document.get("delta")
        if isinstance(delta, dict):  # Anthropic
            return _holds(delta, _DEEPEST)
        return bool(delta) or _any(document)
    return True


def _block(block: Mapping[str, Any]) -> bool:
    """True if an Anthropic block begins with a token. Text and thinking blocks begin empty."""
    kind = block.get("type")
    return bool(block.get(kind)) if kind in ("text", "thinking") else True
