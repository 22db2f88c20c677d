"""Server-sent events: splitting of a byte stream into complete events, and writing of single
events.

Follows WHATWG HTML sections 9.2.5 and 9.2.6, without decoding UTF-8: line ends, colons and spaces
are ASCII, so text is never decoded here. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from multidict import istr

EVENT_STREAM = "text/event-stream"
_ACCEPT = istr("Accept")
_MEDIA_TYPE = EVENT_STREAM.encode()
_BOM = b"\xef\xbb\xbf"
_LF, _CR, _NUL = b"\n\r\0"
"""Numbers, not bytes: CPython 3.11 takes 2000 instructions more to look for bytes with `in`, since
it tries them as a number first, and makes an exception.
"""
_BREAKS = b"\r\n"
_DEFAULT_CAP_BYTES = 10 * 1024 * 1024 + 64 * 1024
"""10 MiB of data, and some room for the fields around it."""
_SHORT_BYTES = 64 * 1024
"""Size of an incomplete event, with the next read, up to which the two are joined."""
TAIL_BYTES = 3
"""Number of bytes written last that `between_events` and `end_of_event` need."""
_RETRY_DIGITS = 18
"""Thirty million years. Python refuses to convert very long numbers, and is slow for long ones."""


def is_event_stream(content_type: bytes) -> bool:
    """Tell whether a body of this content type is an event stream."""
    return content_type.lower().startswith(_MEDIA_TYPE)


def accepts_only_events(headers: Mapping[str, str]) -> bool:
    """Tell whether a client accepts an event stream, and nothing else."""
    accept = headers.get(_ACCEPT, "")
    return EVENT_STREAM in accept and all(
        media_range.partition(";")[0].strip().lower() == EVENT_STREAM
        for media_range in accept.split(",")
    )


class EventTooLarge(Exception):
    """An event exceeds the cap. `events` are the complete events before it in the same data."""

    def __init__(self, cap_bytes: int, events: list[Event]) -> None:
        super().__init__(f"an event of more than {cap_bytes} bytes")
        self.events = events


@dataclass(slots=True)
class _Fields:
    """Fields of one event. Do not change it: it is not frozen only because that would take longer
    for every event.
    """

    data: bytes | None
    type: bytes
    id: bytes | None
    retry_ms: int | None
    is_comment: bool


@dataclass(slots=True)
class Event:
    """Complete event. Its fields are parsed on first access."""

    raw: bytes
    """Bytes on the wire, including the blank line that ends the event and adjacent blank lines."""
    bom: bool = False
    """True if `raw` begins with the byte order mark that may start a stream."""
    _parsed: _Fields | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def data(self) -> bytes | None:
        """Data lines joined with LF; None if there are none: a client then ignores the event."""
        return self._fields().data

    @property
    def type(self) -> bytes:
        """Event type that a client listens for; the default is `message`."""
        return self._fields().type

    @property
    def id(self) -> bytes | None:
        """New last event ID of the client, where empty means unset; None if it does not change."""
        return self._fields().id

    @property
    def retry_ms(self) -> int | None:
        """Milliseconds that a client must wait before it reconnects, if this event sets that."""
        return self._fields().retry_ms

    @property
    def is_comment(self) -> bool:
        """True if the event has no fields at all, only comments or blank lines."""
        return self._fields().is_comment

    def _fields(self) -> _Fields:
        if self._parsed is None:
            self._parsed = _parse(self.raw[len(_BOM) :] if self.bom else self.raw)
        return self._parsed


class EventSplitter:
    """Splitter of one stream into complete events, however its bytes are split.

    Only an incomplete event is held back. Additional blank lines after an event belong to that
    event if they arrive in the same data. If they arrive later, they belong to the next event if
    that is complete in the same data; otherwise they are an event of their own, without fields.
    The same holds for the LF of a CRLF whose CR ended an event: a client that waits for both bytes
    must not have to wait for the next event.

    The raw bytes of all events and of the final `flush()`, joined, are the stream. Data that is
    exactly one event is not copied. The work is linear in the bytes, whatever the size of the
    pieces.
    """

    __slots__ = ("_bom", "_cap_bytes", "_held", "_short_bytes", "_started")

    def __init__(self, cap_bytes: int = _DEFAULT_CAP_BYTES) -> None:
        self._cap_bytes = cap_bytes
        self._short_bytes = min(_SHORT_BYTES, cap_bytes)
        self._held = bytearray()
        """Incomplete event. It never begins with a line end."""
        self._started = False
        """True once a byte order mark, perhaps in pieces, was seen or can no longer come."""
        self._bom = False
        """True if the next event begins with the byte order mark."""

    @property
    def is_between_events(self) -> bool:
        """True if no bytes are held back and the stream has begun. Data that ends an event may then
        pass by this splitter.
        """
        return self._started and not self._held

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that end in this data.

        Raise EventTooLarge for an event that exceeds the cap, not counting blank lines around it.
        After that only `flush()` may be called: it returns the bytes of that event, and all that
        arrived after it.
        """
        # Nearly all data is one event of one or two lines. Check line by line: searching for one
        # byte is several times faster than searching for two. (`in` would first try to make a
        # number of what it searches for, which takes longer than to find it.)
        if self._started and not self._held and len(data) <= self._cap_bytes:
            last = len(data) - 2
            lf = data.find(b"\n")
            while 0 <= lf < last and data[lf + 1] != _LF:
                lf = data.find(b"\n", lf + 1)
            if lf == last and data[-1] == _LF and data.find(b"\r") < 0:
                return [Event(data)]
        return self._cut(data) if data else []

    def plain(self, data: bytes) -> bytes | None:
        """Return the bytes of the events that end in this data, and hold back the rest, if lines
        end in LF only: a blank line then ends an event or follows one. Otherwise return None;
        `feed` has to split the data, which was not taken.
        """
        held = self._held
        if (
            self._started
            and not held
            and data.endswith(b"\n\n")
            and data[0] != _LF
            and data.find(b"\r") < 0
            and len(data) <= self._short_bytes
        ):
            return data  # nearly always
        if (
            self._bom
            or len(held) + len(data) > self._short_bytes
            or data.find(b"\r") >= 0
            or (not held and data.startswith(b"\n"))
            or (held and held.find(b"\r") >= 0)
        ):
            return None
        if not self._started:
            if held or not data or data.startswith(_BOM[:1]):
                return None
            self._started = True
        if held:
            data = bytes(held) + data
            held.clear()
        if data.endswith(b"\n\n"):
            return data
        end = data.rfind(b"\n\n") + 2
        if end < 2:
            held += data
            return b""
        held += data[end:]
        return data[:end]

    def flush(self) -> bytes:
        """Return the bytes held back at the end: ignored by clients, but part of the stream."""
        left = bytes(self._held)
        self._held.clear()
        return left

    def _cut(self, data: bytes) -> list[Event]:
        held = self._held
        if not self._started:
            data = bytes(held) + data
            held.clear()
            if _BOM.startswith(data):
                held += data
                return []
            self._started = True
            self._bom = data.startswith(_BOM)
        # In `data`, `start` is the index of the first byte in no event yet. `first` is the index of
        # the event's first line; it is negative if that line is in the held bytes.
        start = 0
        bom_bytes = len(_BOM) if self._bom else 0
        events: list[Event] = []
        if held:
            first = bom_bytes - len(held)
            blank_lines = _blank_lines(data, 0, held[-1])
        else:
            first = _past_breaks(data, bom_bytes)
            blank_lines = _blank_lines(data, first, 0)
        for blank, end in blank_lines:
            if blank - first > self._cap_bytes:
                break  # the rest, below, is too large as well
            raw = data[start:end]
            if held:
                held += raw
                raw = bytes(held)
                held.clear()
            events.append(Event(raw, self._bom))
            self._bom = False
            start = first = end
        if first - start > bom_bytes:  # no event follows, and blank lines do not wait for one
            events.append(Event(data[:first], self._bom))
            self._bom = False
            start = first
        held += data[start:]
        if len(data) - first > self._cap_bytes:
            raise EventTooLarge(self._cap_bytes, events)
        return events


def _blank_lines(data: bytes, at: int, before: int) -> Iterator[tuple[int, int]]:
    """Yield where events end: the index after the first byte of a blank line, and after all blank
    lines there.

    `at` is the index to start from; it is not at a blank line, except together with `before`, the
    last byte of the held event (0 if none is held).
    """
    size = len(data)
    if (before == _LF and data[0] in _BREAKS) or (before == _CR and data[0] == _CR):
        at = _past_breaks(data, 1)
        yield 1, at
    lf = cr = -1
    while True:
        if lf < at:
            lf = data.find(b"\n", at)
            if lf < 0:
                lf = size
        if cr < at:
            cr = data.find(b"\r", at)
            if cr < 0:
                cr = size
        if cr < lf:
            at = cr + 2 if lf == cr + 1 else cr + 1
        elif lf < size:
            at = lf + 1
        else:
            return
        if at < size and data[at] in _BREAKS:
            blank = at + 1
            at = _past_breaks(data, blank)
            yield blank, at


def _past_breaks(data: bytes, at: int) -> int:
    """Return the first index from `at` on that is no part of a line end."""
    size = len(data)
    while at < size and data[at] in _BREAKS:
        at += 1
    return at


def _parse(block: bytes) -> _Fields:
    """Parse the fields of an event (WHATWG HTML section 9.2.6)."""
    data: list[bytes] = []
    kind = b""
    last_id: bytes | None = None
    retry_ms: int | None = None
    is_comment = True
    for line in block.splitlines():
        name, _, value = line.partition(b":")
        if not name:
            continue  # a blank line or a comment
        is_comment = False
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
        elif name == b"id" and _NUL not in value:
            last_id = value
        elif name == b"retry" and value.isdigit():
            digits = value.lstrip(b"0")
            if len(digits) <= _RETRY_DIGITS:
                retry_ms = int(digits or b"0")
    return _Fields(
        b"\n".join(data) if data else None, kind or b"message", last_id, retry_ms, is_comment
    )


def between_events(tail: bytes) -> bool:
    """Tell whether the gateway may write a line of its own after the last bytes of a stream. Empty
    bytes mean the start of the stream.

    After a CR that ends a blank line, the LF of a CRLF may still arrive, unless the line before
    ended in a CR as well.
    """
    return not tail or tail.endswith((b"\n\n", b"\n\r\n", b"\r\r", b"\r\r\n"))


# -- writing ---------------------------------------------------------------------------------


def event(data: bytes, type: bytes | None = None, event_id: bytes | None = None) -> bytes:
    """Return one event. A client sees every line end in `data` as LF.

    Raise ValueError for a line break in `type`, or a line break or NUL in `event_id`.
    """
    lines = []
    if event_id is not None:
        lines.append(_id_line(event_id))
    if type is not None:
        lines.append(b"event: %b" % _one_line(type))
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines.append(b"data: %b\n\n" % data.replace(b"\n", b"\ndata: "))
    return b"\n".join(lines)


def comment(text: bytes) -> bytes:
    """A line of comment. Raise ValueError for a line break in it.

    No blank line follows, so that the comment becomes a part of the next event. Many decoders take
    each blank line for the end of an event, and fail on an event without data:

        openai-go, anthropic-sdk-go     up to 2026: every blank line is an event
        openai-python, anthropic        a blank line is an event once an `id` has come, or behind a
                                        `retry`
        sseclient (Python)              every block is an event
        Spring's WebFlux                a block of comments is a ServerSentEvent without data
        openai-node, anthropic (Node)   a block without `data` and `event` is skipped
        eventsource-parser (Vercel ai), a block without `data` is skipped
        EventSource (WHATWG), OkHttp,
        .NET's SseParser

    All of them skip a line that begins with a colon, within a block or before it.
    """
    return b": %b\n" % _one_line(text)


def end_of_event(tail: bytes) -> bytes:
    """Return the line ends that complete an event of which the stream's last bytes are a part.
    Empty between events: a blank line there would be an event without data for the decoders listed
    in `comment`.
    """
    if between_events(tail):
        return b""
    return b"\n" if tail.endswith((b"\n", b"\n\r")) else b"\n\n"


def retry(ms: int) -> bytes:
    """Return a line that sets the time in milliseconds to wait before reconnecting. It takes effect
    at once (WHATWG HTML section 9.2.6). No blank line follows, as for a `comment`. Raise ValueError
    for a negative time.
    """
    if ms < 0:
        raise ValueError("a negative time to wait")
    return b"retry: %d\n" % ms


def with_id(raw: bytes, event_id: bytes, *, bom: bool = True) -> bytes:
    """Return the raw bytes of a complete event with this ID in its first line, in place of any
    other ID.

    All else is unchanged; the new line ends in the same way as the event's first line. Blank lines
    before the event stay in front: after the ID, they would separate it from its data. `bom` is
    `Event.bom`; if False, the bytes of a byte order mark at the beginning are not one, as after the
    first event of a stream.

    Raise ValueError for a line break or NUL in the ID.
    """
    start = len(_BOM) if bom and raw.startswith(_BOM) else 0
    first = _past_breaks(raw, start)
    if first == len(raw):
        first = start  # there are only blank lines, and one of them must end the ID
    line = _id_line(event_id) + _line_end(raw, first)
    rest = raw[first:]
    if rest[:2] == b"id" or rest.find(b"\nid") >= 0 or (_CR in rest and b"\rid" in rest):
        return raw[:first] + _without_ids(line, rest)
    return raw[:first] + line + rest


def _without_ids(line: bytes, rest: bytes) -> bytes:
    kept = [line]
    for own in rest.splitlines(keepends=True):
        if own.rstrip(_BREAKS).partition(b":")[0] == b"id":
            continue
        if own == b"\n" and kept[-1].endswith(b"\r"):
            # Without the removed lines between them, this LF and the CR before it are one line end.
            kept.append(b"\n")
        kept.append(own)
    return b"".join(kept)


def _line_end(raw: bytes, at: int) -> bytes:
    """Return the line end of the line that contains index `at`."""
    lf, cr = raw.find(b"\n", at), raw.find(b"\r", at)
    if cr < 0 or 0 <= lf < cr:
        return b"\n"
    return b"\r\n" if lf == cr + 1 else b"\r"


def _id_line(event_id: bytes) -> bytes:
    if _NUL in event_id:
        raise ValueError("an event ID with a NUL, which clients ignore")
    return b"id: %b" % _one_line(event_id)


def _one_line(value: bytes) -> bytes:
    if _LF in value or _CR in value:
        raise ValueError("a line break inside a field")
    return value
