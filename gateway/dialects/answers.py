"""Track the text of a streamed response, and join a second stream onto it.

Used for mid-stream failover. Only plain text can be continued by another backend: tool calls,
several choices and reasoning cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from gateway import sse
from gateway.dialects.translation.json_lines import LineSplitter, LineTooLong
from gateway.dialects.usage import Joined
from gateway.sse import Event, EventSplitter, EventTooLarge

_DONE = b"[DONE]"
_SAME = ("id", "created", "model", "system_fingerprint")
"""Members that have the same value in all chunks of one response."""


class Splitter(Protocol):
    """Cut a stream into events or lines; see `EventSplitter`."""

    def feed(self, data: bytes) -> Sequence[Event]:
        """Return the events that end in this data. Raise EventTooLarge."""

    def flush(self) -> bytes:
        """Return the bytes left at the end of the stream."""


class ChatAnswer:
    """Text of an OpenAI chat completion stream."""

    def __init__(self) -> None:
        self.open = True
        self._pieces: list[str] = []
        self._heard = 0
        """Number of pieces received before the current part, the stream of one backend."""
        self._usage = Joined()
        self._first: dict[str, Any] | None = None

    def splitter(self) -> Splitter:
        """Return a splitter for one stream of this format."""
        return EventSplitter()

    @property
    def text(self) -> str:
        """Text received so far."""
        return "".join(self._pieces)

    def broke_off(self) -> None:
        """Note that the current backend disconnected and the next stream continues its response."""
        self._usage.broke_off(sum(map(bool, self._pieces[self._heard :])))
        self._heard = len(self._pieces)

    def hear(self, event: Event) -> None:
        """Record an event."""
        if self.open and event.data:  # an empty event is a heartbeat
            self._hear(_parsed(event.data))

    def join(self, event: Event) -> bytes:
        """Return an event of a later part as a chunk of the response that has begun.

        The chunk carries the first part's id, model and other constant members, and the corrected
        usage. Return no bytes for a chunk that only names the role again.
        """
        document = None if event.data in (None, b"", _DONE) else _parsed(event.data or b"")
        if document is None or self._first is None:
            return event.raw
        self._hear(document)
        self._usage.whole(document)
        choice = _only_choice(document)
        delta = choice.get("delta")
        if isinstance(delta, dict) and "role" in delta:
            if not delta.get("content") and not choice.get("finish_reason"):
                return b""  # the caller already has the role
            del delta["role"]
        document |= {name: self._first[name] for name in _SAME if name in self._first}
        return b"data: %b\n\n" % orjson.dumps(document)

    def _hear(self, document: dict[str, Any] | None) -> None:
        if document is None:
            self.open = False  # [DONE], or an unknown format
            return
        self._usage.hear(document)
        if self._first is None and "choices" in document:
            self._first = document
        if not document.get("choices") and not document.get("error"):
            return  # usage only, or a heartbeat
        choice = _only_choice(document)
        delta = choice.get("delta")
        if not isinstance(delta, dict) or choice.get("finish_reason"):
            self.open = False
            return
        content = delta.get("content")
        if isinstance(content, str):
            self._pieces.append(content)
        elif content:
            self.open = False  # a list of parts
        if any(delta.get(key) for key in delta.keys() - {"role", "content"}):
            self.open = False  # tool_calls, refusal, reasoning: cannot be continued


class MessagesAnswer:
    """Text of an Anthropic message stream."""

    def __init__(self) -> None:
        self.open = True
        self._pieces: list[str] = []
        self._heard = 0
        """Number of pieces received before the current part, the stream of one backend."""
        self._usage = Joined()
        self._begun = False

    def splitter(self) -> Splitter:
        """Return a splitter for one stream of this format."""
        return EventSplitter()

    @property
    def text(self) -> str:
        """Text received so far."""
        return "".join(self._pieces)

    def broke_off(self) -> None:
        """Note that the current backend disconnected and the next stream continues its response."""
        self._usage.broke_off(sum(map(bool, self._pieces[self._heard :])))
        self._heard = len(self._pieces)

    def hear(self, event: Event) -> None:
        """Record an event."""
        if not event.data:
            return
        self._hear(_parsed(event.data) or {})

    def _hear(self, document: dict[str, Any]) -> None:
        self._usage.hear(document)
        kind = document.get("type")
        if kind == "content_block_start":
            block = document.get("content_block")
            text = isinstance(block, dict) and block.get("type") == "text"
            self.open = self.open and text and not self._begun
            self._begun = True
        elif kind == "content_block_delta":
            delta = document.get("delta")
            if isinstance(delta, dict) and isinstance(delta.get("text"), str):
                self._pieces.append(delta["text"])
            else:
                self.open = False
        elif kind not in ("message_start", "ping"):
            self.open = False  # the end of the block or of the message

    def join(self, event: Event) -> bytes:
        """Return an event of a later part, with the corrected usage.

        Return no bytes for events that start the message or its text block again.
        """
        document = _parsed(event.data) if event.data else None
        if document is None:
            return event.raw
        kind = document.get("type")
        if kind in ("message_start", "content_block_start"):
            self._usage.hear(document)
            return b""  # the text is one block, which is open
        self._hear(document)
        if "usage" not in document:
            return event.raw
        self._usage.whole(document)
        return sse.event(orjson.dumps(document), event.type)


class _Line(Event):
    """One line of NDJSON."""

    __slots__ = ()

    @property
    def data(self) -> bytes | None:
        """Line content; None for a blank line."""
        return self.raw.strip() or None


class Lines:
    """Cut NDJSON into lines, with the interface of EventSplitter."""

    def __init__(self) -> None:
        self._splitter = LineSplitter()

    def feed(self, data: bytes) -> Sequence[Event]:
        """Return the lines that end in this data. Raise EventTooLarge."""
        try:
            return [_Line(line + b"\n") for line in self._splitter.feed(data)]
        except LineTooLong as exc:
            lines: list[Event] = [_Line(line + b"\n") for line in exc.lines]
            raise EventTooLarge(exc.cap_bytes, lines) from exc

    def flush(self) -> bytes:
        """Return the last line, if the stream ends without a line end."""
        return self._splitter.flush()


class LinesAnswer:
    """Text of an Ollama chat stream."""

    def __init__(self) -> None:
        self.open = True
        self._pieces: list[str] = []
        self._heard = 0
        """Number of pieces received before the current part, the stream of one backend."""
        self._usage = Joined()
        self._model: Any = None

    def splitter(self) -> Splitter:
        """Return a splitter for one stream of this format."""
        return Lines()

    @property
    def text(self) -> str:
        """Text received so far."""
        return "".join(self._pieces)

    def broke_off(self) -> None:
        """Note that the current backend disconnected and the next stream continues its response."""
        self._usage.broke_off(sum(map(bool, self._pieces[self._heard :])))
        self._heard = len(self._pieces)

    def hear(self, event: Event) -> None:
        """Record a line."""
        if self.open and event.data is not None:
            self._hear(_parsed(event.data) or {})

    def join(self, event: Event) -> bytes:
        """Return a line of a later part with the first part's model name and corrected usage."""
        document = _parsed(event.data) if event.data is not None else None
        if document is None:
            return event.raw
        self._hear(document)
        self._usage.whole(document)
        if "model" in document:
            document["model"] = self._model
        return orjson.dumps(document) + b"\n"

    def _hear(self, document: dict[str, Any]) -> None:
        self._usage.hear(document)
        self._model = self._model or document.get("model")
        message = document.get("message")
        if not isinstance(message, dict) or document.get("done"):
            self.open = False  # the end, or no chat response
            return
        content = message.get("content")
        if isinstance(content, str):
            self._pieces.append(content)
        elif content:
            self.open = False  # a list of parts
        if any(message.get(key) for key in message.keys() - {"role", "content"}):
            self.open = False  # tool_calls, thinking: cannot be continued


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _only_choice(document: dict[str, Any]) -> dict[str, Any]:
    """Return the only choice of a chunk; empty if there are several or none."""
    choices = document.get("choices")
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
        return choices[0]
    return {}
