"""Continuation of an Anthropic message stream by another backend."""

from __future__ import annotations

from typing import Any

import orjson

from gateway import sse
from gateway.dialects.continuation import Answered, document_of
from gateway.sse import Event


class MessagesAnswer:
    """Message that another backend may continue."""

    def __init__(self) -> None:
        self.open = True
        self.answered = Answered()
        self._begun = False

    def read(self, event: Event) -> None:
        """Record an event."""
        if event.data:  # an empty event is a heartbeat
            self._read(document_of(event) or {})

    def _read(self, document: dict[str, Any]) -> None:
        self.answered.usage.read(document)
        kind = document.get("type")
        if kind == "content_block_start":
            block = document.get("content_block")
            text = isinstance(block, dict) and block.get("type") == "text"
            self.open = self.open and text and not self._begun
            self._begun = True
        elif kind == "content_block_delta":
            delta = document.get("delta")
            if isinstance(delta, dict) and isinstance(delta.get("text"), str):
                self.answered.pieces.append(delta["text"])
            else:
                self.open = False
        elif kind not in ("message_start", "ping"):
            self.open = False  # the end of the block or of the message

    def join(self, event: Event) -> bytes:
        """Return an event of a later part, with the corrected usage.

        Return no bytes for events that start the message or its text block again.
        """
        document = document_of(event)
        if document is None:
            return event.raw
        kind = document.get("type")
        if kind in ("message_start", "content_block_start"):
            self.answered.usage.read(document)
            return b""  # the text is one block, which is open
        self._read(document)
        if "usage" not in document:
            return event.raw
        self.answered.usage.whole(document)
        return sse.event(orjson.dumps(document), event.type)
