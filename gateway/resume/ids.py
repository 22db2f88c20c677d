"""The ids of streams and of their events, and what a client says it has seen last.

A stream's id is 130 bits that nobody can guess, behind the slot of the worker that made it. An
event's id is the stream's with the event's number behind a dot: a client that knows only the last
event's id, as EventSource does, has all that is needed to go on.
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
    """How far a reader has come: `after` is the number of the last event it has; 0 for none."""

    stream: str
    after: int


def new_stream_id(slot: int) -> str:
    """An id for a stream of the worker in this slot (0 to 255)."""
    return f"{slot:02x}{secrets.token_hex(16)}"


def slot_of(stream: str) -> int | None:
    """The slot of the worker that made a stream; None if this is no stream's id."""
    match = _STREAM.fullmatch(stream)
    return int(match[1], 16) if match else None


def parse_event_id(text: str) -> Position:
    """What a `Last-Event-ID` says. Raise InvalidEventId."""
    match = _EVENT.fullmatch(text)
    if match is None:
        raise InvalidEventId
    return Position(match[1], int(match[2]))


def parse_after(text: str, stream: str) -> Position:
    """The same, of a stream that is known: only the number will do. Raise InvalidEventId."""
    if _NUMBER.fullmatch(text):
        return Position(stream, int(text))
    position = parse_event_id(text)
    if position.stream != stream:
        raise InvalidEventId
    return position


def numbered(event: Event, event_id: bytes) -> bytes | None:
    """The event's bytes with this id and one blank line behind; None if there is no field in it,
    and so nothing that a client could have missed.

    There are decoders that take a second blank line, or a block of comments, for an event without
    data once they have seen an id (openai-python's is one). So neither is passed on.
    """
    raw = event.raw
    # Nearly all events begin with a field that is no id, and have one way of ending lines.
    if (
        raw[:1].isalpha()
        and raw[-2:] == b"\n\n"
        and raw[-3:] != b"\n\n\n"
        and raw[:2] != b"id"
        and b"\nid" not in raw
        and b"\r" not in raw
    ):
        return b"id: %b\n%b" % (event_id, raw)
    if event.is_comment:
        return None
    own = raw[_BOM_BYTES:] if event.bom else raw
    return with_id(own.strip(b"\r\n") + b"\n\n", event_id, bom=False)
