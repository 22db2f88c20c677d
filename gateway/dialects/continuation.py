"""Interface of an answer that another backend may continue (mid-stream failover), and its text.

Only plain text can be continued: tool calls, several choices and reasoning cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from gateway.dialects.usage import Joined
from gateway.sse import Event


class Splitter(Protocol):
    """Cut a stream into events or lines; see `EventSplitter`."""

    def feed(self, data: bytes) -> Sequence[Event]:
        """Return the events that end in this data. Raise EventTooLarge."""

    def flush(self) -> bytes:
        """Return the bytes left at the end of the stream."""


class Answered:
    """Text and usage of one answer, from the streams of one backend after another."""

    __slots__ = ("_heard", "pieces", "usage")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.usage = Joined()
        self._heard = 0
        """Number of pieces received before the current part, the stream of one backend."""

    @property
    def text(self) -> str:
        """Text received so far."""
        return "".join(self.pieces)

    def broke_off(self) -> None:
        """Note that the current backend disconnected and the next stream continues its answer."""
        self.usage.broke_off(sum(map(bool, self.pieces[self._heard :])))
        self._heard = len(self.pieces)


class Answer(Protocol):
    """Streamed answer in one dialect, fed with its events."""

    open: bool
    """True if another backend could continue the answer: it is text only and has not ended."""
    answered: Answered

    def read(self, event: Event) -> None:
        """Record an event of the first stream."""

    def join(self, event: Event) -> bytes:
        """Return the part of a later stream's event that belongs in the stream the client reads."""


def document_of(event: Event) -> dict[str, Any] | None:
    """Return the JSON object in an event, or None if it has none."""
    try:
        document = orjson.loads(event.data or b"")
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
