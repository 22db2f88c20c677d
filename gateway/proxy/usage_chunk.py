"""Asking an OpenAI-shaped stream for its usage, and keeping the answer from a client who did not.

`stream_options: {"include_usage": true}` makes the backend send one more chunk before `[DONE]`,
with no choices and the token counts. A client that asked for it itself gets it as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import orjson

from gateway.sse import Event, EventSplitter, EventTooLarge

_OPTION = b'"stream_options":{"include_usage":true},'
_KEY = re.compile(rb'"stream_options"\s*:\s*')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_HELD_CAP_BYTES = 1024 * 1024


def ask_for_usage(body: bytes) -> bytes | None:
    """The body of a streamed request with usage asked for; None if it need not be changed."""
    document = orjson.loads(body)
    if not isinstance(document, dict) or document.get("stream") is not True:
        return None
    options = document.get("stream_options")
    if options is None and "stream_options" not in document:
        start = body.index(b"{") + 1
        return body[:start] + _OPTION + body[start:]
    if isinstance(options, dict) and options.get("include_usage") is True:
        return None
    return _replace_options(body, options if isinstance(options, dict) else {})


def unasked(body: bytes) -> bytes | None:
    """The body without what `ask_for_usage` put in; None if that put in no field of its own."""
    start = body.find(b"{") + 1
    end = start + len(_OPTION)
    return body[:start] + body[end:] if body[start:end] == _OPTION else None


def _replace_options(body: bytes, options: dict[str, object]) -> bytes | None:
    """Put the option into an object that is there without it, or says false."""
    matches = list(_KEY.finditer(body))
    if len(matches) != 1:
        return None  # which of them it is would be a guess; the stream is counted by its events
    start = matches[0].end()
    text = body[start:].decode("utf-8", "surrogateescape")
    _, end = json.JSONDecoder().raw_decode(text)
    length = len(text[:end].encode("utf-8", "surrogateescape"))
    changed = orjson.dumps({**options, "include_usage": True})
    return body[:start] + changed + body[start + length :]


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
