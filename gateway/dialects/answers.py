"""What is said in an event stream: the text so far, and how a later stream is joined on.

For mid-stream failover. Only plain text can be gone on with: calls of tools, several choices and
thinking cannot.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.sse import Event

_DONE = b"[DONE]"
_SAME = ("id", "created", "model", "system_fingerprint")
"""What is the same in all chunks of one answer."""


class ChatAnswer:
    """OpenAI's chat completion chunks."""

    def __init__(self) -> None:
        self.open = True
        self._pieces: list[str] = []
        self._first: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """What has been said."""
        return "".join(self._pieces)

    def hear(self, event: Event) -> None:
        """Take note of an event."""
        if self.open and event.data is not None:
            self._hear(_parsed(event.data))

    def join(self, event: Event) -> bytes:
        """The event, as a chunk of the answer that has begun."""
        document = None if event.data in (None, _DONE) else _parsed(event.data or b"")
        if document is None or self._first is None:
            return event.raw
        self._hear(document)
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
        if self._first is None:
            self._first = document
        if document.get("choices") == []:
            return  # usage
        choice = _only_choice(document)
        delta = choice.get("delta")
        if not isinstance(delta, dict) or choice.get("finish_reason"):
            self.open = False
            return
        content = delta.get("content")
        if isinstance(content, str):
            self._pieces.append(content)
        if any(delta.get(key) for key in delta.keys() - {"role", "content"}):
            self.open = False  # tool_calls, refusal, reasoning: no text to go on with


class MessagesAnswer:
    """Anthropic's events of one message."""

    def __init__(self) -> None:
        self.open = True
        self._pieces: list[str] = []
        self._begun = False

    @property
    def text(self) -> str:
        """What has been said."""
        return "".join(self._pieces)

    def hear(self, event: Event) -> None:
        """Take note of an event."""
        if event.data is None:
            return
        document = _parsed(event.data) or {}
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
        document = _parsed(event.data) if event.data is not None else None
        kind = document.get("type") if document is not None else None
        if kind in ("message_start", "content_block_start"):
            return b""  # only text is gone on with, which is one block
        self.hear(event)
        return event.raw


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
