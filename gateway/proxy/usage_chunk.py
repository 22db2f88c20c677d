"""Keeping the usage of an OpenAI-shaped stream from a client who did not ask for it.

`stream_options: {"include_usage": true}`, which `JsonBody.ask_for_usage` puts into a body, makes
the backend send one more chunk before `[DONE]`, with no choices and the token counts. A client that
asked for it itself gets it as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

from gateway.sse import Event, EventSplitter, EventTooLarge

_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_HELD_CAP_BYTES = 1024 * 1024


class UsageFilter:
    """Takes the usage chunk out of an event stream and passes everything else as it came.

    An event passes when it is whole, which it is as it comes from nearly every backend. The work is
    linear in the bytes, however they are cut.
    """

    __slots__ = ("_splitter",)

    def __init__(self) -> None:
        self._splitter: EventSplitter | None = EventSplitter(_HELD_CAP_BYTES)

    def feed(self, data: bytes) -> bytes:
        """What may pass now."""
        splitter = self._splitter
        if splitter is None:
            return data
        try:
            events = splitter.feed(data)
        except EventTooLarge as exc:
            # No usage chunk is that large: whatever this stream is, it passes from here on.
            self._splitter = None
            return _without_usage(exc.events) + splitter.flush()
        if len(events) == 1 and b'"usage"' not in events[0].raw:
            return events[0].raw  # the data itself, where it is one whole event
        return _without_usage(events)

    def flush(self) -> bytes:
        """What is left at the end of the stream."""
        return b"" if self._splitter is None else self._splitter.flush()


def _without_usage(events: Iterable[Event]) -> bytes:
    return b"".join([event.raw for event in events if not _is_usage(event)])


def _is_usage(event: Event) -> bool:
    """Whether an event is a chunk that tells usage and nothing else."""
    if b'"usage"' not in event.raw or _NO_CHOICES.search(event.raw) is None:
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
