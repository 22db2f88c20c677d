"""Removal of the usage chunk from an OpenAI-shaped stream if the client did not ask for it.

`JsonBody.ask_for_usage` puts `stream_options: {"include_usage": true}` into a body. The backend
then sends one more chunk before `[DONE]`, with token counts and without choices. A client that
asked for usage itself receives the chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

from gateway.dialects.usage_scan import last_report
from gateway.sse import Event, EventSplitter, EventTooLarge

_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_HELD_CAP_BYTES = 1024 * 1024


class UsageFilter:
    """Filter that removes the usage chunk from an event stream and passes everything else
    unchanged.

    An event passes once it is complete, which it is on arrival from nearly every backend. The work
    is linear in the bytes, however they are split.
    """

    __slots__ = ("_splitter",)

    def __init__(self) -> None:
        self._splitter: EventSplitter | None = EventSplitter(_HELD_CAP_BYTES)

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that can be sent now."""
        splitter = self._splitter
        if splitter is None:
            return data
        if splitter.is_between_events and data.endswith(b"\n\n") and last_report(data) < 0:
            return data  # complete events, none of which reports usage
        try:
            events = splitter.feed(data)
        except EventTooLarge as exc:
            # No usage chunk is this large: from here on, the stream passes unfiltered.
            self._splitter = None
            return _without_usage(exc.events) + splitter.flush()
        return _without_usage(events)

    def flush(self) -> bytes:
        """Return the bytes held back, at the end of the stream."""
        return b"" if self._splitter is None else self._splitter.flush()


def _without_usage(events: Iterable[Event]) -> bytes:
    return b"".join([_line_feed(event.raw) if _is_usage(event) else event.raw for event in events])


def _line_feed(raw: bytes) -> bytes:
    """Return the line feed that an event begins with: it belongs to the carriage return before it,
    with which the last piece of data ended.
    """
    return b"\n" if raw.startswith(b"\n") else b""


def _is_usage(event: Event) -> bool:
    """Tell whether an event is a chunk with usage and nothing else."""
    if event.raw.find(b'"usage"') < 0 or _NO_CHOICES.search(event.raw) is None:
        return False
    try:
        document = orjson.loads(event.data or b"")
    except orjson.JSONDecodeError:
        return False
    return (
        isinstance(document, dict)
        and document.get("choices") == []
        and isinstance(document.get("usage"), dict)
    )
