"""Ids of streams and events, and parsing of the last event id that a client reports.

A stream id has two hex digits for the slot of the worker that made it, and then 128 random bits, so
that it cannot be guessed. An event id is the stream id, a dot and the number of the event. The id
of the last event is therefore all that a client such as EventSource needs to resume.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from gateway.errors import InvalidEventId
from gateway.sse import Event, with_id

_STREAM = re.compile(r"([0-9a-f]{2})[0-9a-f]{32}")
_EVENT = re.compile(r"([0-9a-f]{34})\.([0-9]{1,15})")
_NUMBER = re.compile(r"[0-9]{1,15}")
_BOM_BYTES = 3


@dataclass(frozen=True, slots=True)
class Position:
    """Position of a reader: `after` is the number of the last event it has, 0 for none."""

    stream: str
    after: int


def new_stream_id(slot: int) -> str:
    """Return an id for a stream of the worker in this slot (0 to 255)."""
    return f"{slot:02x}{secrets.token_hex(16)}"


def slot_of(stream: str) -> int | None:
    """Return the slot of the worker that made a stream, or None if this is not a stream id."""
    match = _STREAM.fullmatch(stream)
    return int(match[1], 16) if match else None


def parse_event_id(text: str) -> Position:
    """Parse a `Last-Event-ID`. Raise InvalidEventId."""
    match = _EVENT.fullmatch(text)
    if match is None:
        raise InvalidEventId
    return Position(match[1], int(match[2]))


def parse_after(text: str, stream: str) -> Position:
    """Parse an event id of a known stream; its number suffices. Raise InvalidEventId."""
    if _NUMBER.fullmatch(text):
        return Position(stream, int(text))
    position = parse_event_id(text)
    if position.stream != stream:
        raise InvalidEventId
    return position


def numbered_events(events: bytes, prefix: bytes, number: int) -> list[bytes]:
    """Return each of the events as `numbered` does, with ids of this prefix from `number` on. The
    events are as returned by `EventSplitter.plain`.
    """
    if events.find(b"\n") == len(events) - 2 and events.startswith(b"data:"):
        return [b"id: %b%d\n%b" % (prefix, number, events)]  # nearly always: one line of data
    texts = events[:-2].split(b"\n\n")
    # Nearly all other events begin with a field other than the id.
    if (
        b"".join([text[:1] or b" " for text in texts]).isalpha()
        and not events.startswith(b"id")
        and events.find(b"\nid") < 0
        and not events.endswith(b"\n\n\n")
    ):
        return [b"id: %b%d\n%b\n\n" % (prefix, at, text) for at, text in enumerate(texts, number)]
    kept: list[bytes] = []
    for text in texts:
        one = numbered(Event(text + b"\n\n"), b"%b%d" % (prefix, number + len(kept)))
        if one is not None:
            kept.append(one)
    return kept


def numbered(event: Event, event_id: bytes) -> bytes | None:
    """Return the event with this id and exactly one blank line after it.

    Return None if the event has no field: a client that misses it misses nothing. Some decoders
    (openai-python's, for example) take a second blank line or a block of comments for an event
    without data once they have seen an id, so neither is passed on.
    """
    if event.is_comment:
        return None
    own = event.raw[_BOM_BYTES:] if event.bom else event.raw
    return with_id(own.strip(b"\r\n") + b"\n\n", event_id, bom=False)
