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
_BLANK_LINE = b"\n\n"
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
        plain = splitter.plain(data)
        if plain is not None:
            return _without_usage_chunk(plain)
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


def _without_usage_chunk(data: bytes) -> bytes:
    """Return complete events, whose lines end in LF, without the usage chunk.

    Only events that report usage are looked at: it takes half the time of splitting them all.
    """
    at = last_report(data)
    while at >= 0:
        before = data.rfind(_BLANK_LINE, 0, at)
        start = before + len(_BLANK_LINE) if before >= 0 else 0
        end = data.find(_BLANK_LINE, at) + len(_BLANK_LINE)
        if _is_usage(data[start:end]):
            # More blank lines behind an event belong to it.
            data = data[:start] + data[end:].lstrip(b"\n")
        at = last_report(data, start)
    return data


def _without_usage(events: Iterable[Event]) -> bytes:
    return b"".join(
        [
            _line_feed(event.raw) if _is_usage(event.raw, bom=event.bom) else event.raw
            for event in events
        ]
    )


def _line_feed(raw: bytes) -> bytes:
    """Return the line feed that an event begins with: it belongs to the carriage return before it,
    with which the last piece of data ended.
    """
    return b"\n" if raw.startswith(b"\n") else b""


def _is_usage(raw: bytes, *, bom: bool = False) -> bool:
    """Tell whether an event is a chunk with usage and nothing else. `bom` is `Event.bom`."""
    if raw.find(b'"usage"') < 0 or _NO_CHOICES.search(raw) is None:
        return False
    try:
        document = orjson.loads(Event(raw, bom).data or b"")
    except orjson.JSONDecodeError:
        return False
    return (
        isinstance(document, dict)
        and document.get("choices") == []
        and isinstance(document.get("usage"), dict)
    )
