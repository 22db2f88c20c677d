"""What is said in a stream: the text so far, and how a later stream is joined on.

For mid-stream failover. Only plain text can be gone on with: calls of tools, several choices and
thinking cannot.
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
"""What is the same in all chunks of one answer."""


class Splitter(Protocol):
    """Cuts a stream into events, or lines; see `EventSplitter`."""

    def feed(self, data: bytes) -> Sequence[Event]:
        """Those that end in this data. Raise EventTooLarge."""

    def flush(self) -> bytes:
        """What is left at the end of the stream."""


class ChatAnswer:
    """OpenAI's chat completion chunks."""

    def __init__(self) -> None:
        self.open = True
        self._pieces: list[str] = []
        self._heard = 0
        """How many of them came before the present part."""
        self._usage = Joined()
        self._first: dict[str, Any] | None = None

    def splitter(self) -> Splitter:
        """What cuts its streams."""
        return EventSplitter()

    @property
    def text(self) -> str:
        """What has been said."""
        return "".join(self._pieces)

    def broke_off(self) -> None:
        """A later stream goes on."""
        self._usage.broke_off(sum(map(bool, self._pieces[self._heard :])))
        self._heard = len(self._pieces)

    def hear(self, event: Event) -> None:
        """Take note of an event."""
        if self.open and event.data:  # an empty one is a sign of life
            self._hear(_parsed(event.data))

    def join(self, event: Event) -> bytes:
        """The event, as a chunk of the answer that has begun."""
        document = None if event.data in (None, b"", _DONE) else _parsed(event.data or b"")
        if document is None or self._first is None:
            return event.raw
        self._hear(document)
        self._usage.whole(document)
        choice = _only_choice(document)
        delta = choice.get("delta")
        if isinstance(delta, dict) and "role" in delta:
            if not delta.get("content") and not choice.get("finish_reason"):
                return b""  # the answer has begun already
            del delta["role"]
        document |= {name: self._first[name] for name in _SAME if name in self._first}
        return b"data: %b\n\n" % orjson.dumps(document)

    def _hear(self, document: dict[str, Any] | None) -> None:
        if document is None:
            self.open = False  # [DONE], or nothing we know
            return
        self._usage.hear(document)
        if self._first is None and "choices" in document:
            self._first = document
        if not document.get("choices") and not document.get("error"):
            return  # usage, or a sign of life
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
            self.open = False  # tool_calls, refusal, reasoning: no text to go on with


class MessagesAnswer:
    """Anthropic's events of one message."""

    def __init__(self) -> None:
        self.open = True
        self._pieces: list[str] = []
        self._heard = 0
        """How many of them came before the present part."""
        self._usage = Joined()
        self._begun = False

    def splitter(self) -> Splitter:
        """What cuts its streams."""
        return EventSplitter()

    @property
    def text(self) -> str:
        """What has been said."""
        return "".join(self._pieces)

    def broke_off(self) -> None:
        """A later stream goes on."""
        self._usage.broke_off(sum(map(bool, self._pieces[self._heard :])))
        self._heard = len(self._pieces)

    def hear(self, event: Event) -> None:
        """Take note of an event."""
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
            self.open = False  # the block, or the message, is over

    def join(self, event: Event) -> bytes:
        """The event, unless it begins what has begun already."""
        document = _parsed(event.data) if event.data else None
        if document is None:
            return event.raw
        kind = document.get("type")
        if kind in ("message_start", "content_block_start"):
            self._usage.hear(document)
            return b""  # only text is gone on with, which is one block
        self._hear(document)
        if "usage" not in document:
            return event.raw
        self._usage.whole(document)
        return sse.event(orjson.dumps(document), event.type)


class _Line(Event):
    """Of NDJSON."""

    __slots__ = ()

    @property
    def data(self) -> bytes | None:
        """The line; None for a blank one."""
        return self.raw.strip() or None


class Lines:
    """Cuts NDJSON into lines, as an EventSplitter does events."""

    def __init__(self) -> None:
        self._splitter = LineSplitter()

    def feed(self, data: bytes) -> Sequence[Event]:
        """The lines that end in this data. Raise EventTooLarge."""
        try:
            return [_Line(line + b"\n") for line in self._splitter.feed(data)]
        except LineTooLong as exc:
            lines: list[Event] = [_Line(line + b"\n") for line in exc.lines]
            raise EventTooLarge(exc.cap_bytes, lines) from exc

    def flush(self) -> bytes:
        """The last line, which has no end."""
        return self._splitter.flush()


class LinesAnswer:
    """Ollama's lines of one chat."""

    def __init__(self) -> None:
        self.open = True
        self._pieces: list[str] = []
        self._heard = 0
        """How many of them came before the present part."""
        self._usage = Joined()
        self._model: Any = None

    def splitter(self) -> Splitter:
        """What cuts its streams."""
        return Lines()

    @property
    def text(self) -> str:
        """What has been said."""
        return "".join(self._pieces)

    def broke_off(self) -> None:
        """A later stream goes on."""
        self._usage.broke_off(sum(map(bool, self._pieces[self._heard :])))
        self._heard = len(self._pieces)

    def hear(self, event: Event) -> None:
        """Take note of a line."""
        if self.open and event.data is not None:
            self._hear(_parsed(event.data) or {})

    def join(self, event: Event) -> bytes:
        """The line, as one of the answer that has begun."""
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
            self.open = False  # it is over, or no chat
            return
        content = message.get("content")
        if isinstance(content, str):
            self._pieces.append(content)
        elif content:
            self.open = False  # a list of parts
        if any(message.get(key) for key in message.keys() - {"role", "content"}):
            self.open = False  # tool_calls, thinking: no text to go on with


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _only_choice(document: dict[str, Any]) -> dict[str, Any]:
    """The choice of a chunk; empty if there are several, or none."""
    choices = document.get("choices")
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
        return choices[0]
    return {}
