"""Names of channels, and ids of their events.

An event id is `MILLISECONDS-SEQUENCE`, as in Redis streams: the time at which the event was
published, and a number that tells events of one millisecond apart. Ids of a channel only grow, in
all processes and across restarts, so an id also marks a position in a channel whose older events
are gone. In memory an id is one integer.
"""

from __future__ import annotations

import re

from gateway.errors import InvalidEventId

SEQUENCE_BITS = 20
_SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ID = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,7}))?")


def is_name(text: str) -> bool:
    """Tell whether a channel may have this name: 1 to 64 letters, digits, dots, dashes and
    underscores, the first a letter or a digit.
    """
    return _NAME.fullmatch(text) is not None


def id_at(ms: int, sequence: int = 0) -> int:
    """Return the id of an event published at this time, in milliseconds since the epoch."""
    return (ms << SEQUENCE_BITS) + sequence


def ms_of(event_id: int) -> int:
    """Return the time of an id in milliseconds since the epoch."""
    return event_id >> SEQUENCE_BITS


def written(event_id: int) -> bytes:
    """Return an id as clients and Redis see it."""
    return b"%d-%d" % (event_id >> SEQUENCE_BITS, event_id & _SEQUENCE_MASK)


def parsed(text: str) -> int:
    """Return the id in a text. The sequence may be missing: `0` is before all events. Raise
    InvalidEventId.
    """
    match = _ID.fullmatch(text)
    if match is None or int(match[2] or 0) > _SEQUENCE_MASK:
        raise InvalidEventId
    return id_at(int(match[1]), int(match[2] or 0))
