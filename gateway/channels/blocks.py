"""Published events as blocks: `event` and `data` lines, without an id. No I/O."""

from __future__ import annotations

from gateway import sse
from gateway.channels.notices import RESERVED
from gateway.errors import InvalidEvent
from gateway.sse import Event

_LONGEST_TYPE = 128
_DEFAULT_TYPE = b"message"


def block_of(data: bytes, type: bytes = _DEFAULT_TYPE) -> bytes:
    """Return the block of an event. Raise InvalidEvent."""
    if not data:
        raise InvalidEvent("The event has no data. Clients ignore such events.")
    try:
        data.decode()
        type.decode()
    except UnicodeDecodeError:
        raise InvalidEvent("The event is not UTF-8, the only encoding of event streams.") from None
    if len(type) > _LONGEST_TYPE or b"\n" in type or b"\r" in type or b"\0" in type:
        raise InvalidEvent(
            f"The type of the event is longer than {_LONGEST_TYPE} bytes, or has a line break.",
            param="event",
        )
    if type.startswith(RESERVED):
        raise InvalidEvent("Types that begin with 'gateway.' are the gateway's own.", param="event")
    return sse.event(data, None if type == _DEFAULT_TYPE or not type else type)


def block_of_event(event: Event) -> bytes | None:
    """Return the block of an event of a stream; None for comments and events without data, which
    clients ignore. The event's own id and retry time are dropped. Raise InvalidEvent.
    """
    return block_of(event.data, event.type) if event.data else None
