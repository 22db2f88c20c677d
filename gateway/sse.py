"""Server-sent events: a byte stream cut into whole events, and the making of single ones.

As WHATWG HTML sections 9.2.5 and 9.2.6 define them, but for what the bytes mean as UTF-8: line
ends, colons and spaces are ASCII, so that text is never decoded here. Nothing here reads or writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

EVENT_STREAM = "text/event-stream"
_MEDIA_TYPE = EVENT_STREAM.encode()
_BOM = b"\xef\xbb\xbf"
_LF, _CR = b"\n\r"
_BREAKS = b"\r\n"
_DEFAULT_CAP_BYTES = 10 * 1024 * 1024 + 64 * 1024
"""Ten MiB of data, and what is around it."""
TAIL_BYTES = 3
"""How many of the bytes written last `between_events` and `end_of_event` need."""
_RETRY_DIGITS = 18
"""Thirty million years. Python refuses to convert very long numbers, and slows down before."""


def is_event_stream(content_type: bytes) -> bool:
    """Whether a body of this type is events."""
    return content_type.lower().startswith(_MEDIA_TYPE)


class EventTooLarge(Exception):
    """An event that has grown beyond the cap. `events` came whole before it, in the same data."""

    def __init__(self, cap_bytes: int, events: list[Event]) -> None:
        super().__init__(f"an event of more than {cap_bytes} bytes")
        self.events = events


@dataclass(frozen=True, slots=True)
class _Fields:
    data: bytes | None
    type: bytes
    id: bytes | None
    retry_ms: int | None
    is_comment: bool


@dataclass(slots=True)
class Event:
    """A whole event. Its fields are looked for when one of them is first asked for."""

    raw: bytes
    """Its bytes on the wire, with the blank line that ends it and blank lines next to it."""
    bom: bool = False
    """Whether `raw` begins with the byte order mark that may stand before a stream."""
    _parsed: _Fields | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def data(self) -> bytes | None:
        """Its data lines joined with LF; None if it has none, and so is nothing to a client."""
        return self._fields().data

    @property
    def type(self) -> bytes:
        """What a client listens for: `message` unless the event says otherwise."""
        return self._fields().type

    @property
    def id(self) -> bytes | None:
        """What becomes the client's last event ID, empty if that is unset; None: it stays."""
        return self._fields().id

    @property
    def retry_ms(self) -> int | None:
        """How long a client is to wait before it connects again, if this event says so."""
        return self._fields().retry_ms

    @property
    def is_comment(self) -> bool:
        """Whether there is no field in it, of whatever name: only comments, or blank lines."""
        return self._fields().is_comment

    def _fields(self) -> _Fields:
        if self._parsed is None:
            self._parsed = _parse(self.raw[len(_BOM) :] if self.bom else self.raw)
        return self._parsed


class EventSplitter:
    """Cuts the bytes of one stream into whole events, however they come.

    Nothing is held but an event that has begun. A blank line after the one that ends an event
    belongs to the event before it if it comes in the same data, else to the event behind it if
    that comes whole in the same data; else it is an event of its own, without any field. So is
    the LF of a CRLF whose CR has ended an event: who waits for both must not wait for the next.

    All raw bytes and at last `flush()`, joined, are the stream. Data that is just one event is
    not copied. The work is linear in the bytes, whatever the size of the pieces.
    """

    __slots__ = ("_bom", "_cap_bytes", "_held", "_started")

    def __init__(self, cap_bytes: int = _DEFAULT_CAP_BYTES) -> None:
        self._cap_bytes = cap_bytes
        self._held = bytearray()
        """The event that has begun. It never begins with a line end."""
        self._started = False
        """Whether a byte order mark, which may come in pieces, is there or can no longer come."""
        self._bom = False
        """Whether the next event begins with it."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that end in this data.

        Raise EventTooLarge for an event that is larger than the cap, without blank lines around
        it. Then only `flush()` is left to call: it gives what has come of that event, and all
        that has come behind it.
        """
        # Nearly all data is one event of one line or two. It is told line by line because to
        # search for one byte is several times faster than to search for two.
        if self._started and not self._held and len(data) <= self._cap_bytes:
            last = len(data) - 2
            lf = data.find(b"\n")
            while 0 <= lf < last and data[lf + 1] != _LF:
                lf = data.find(b"\n", lf + 1)
            if lf == last and data[-1] == _LF and b"\r" not in data:
                return [Event(data)]
        return self._cut(data) if data else []

    def flush(self) -> bytes:
        """What is left at the end of the stream: nothing to a client, but bytes of the stream."""
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
        # In `data`: `start` is of the bytes that are in no event yet; `first`, less than nothing
        # in a held event, is where the event's first line begins.
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
                break  # and then what is left, below, is too large as well
            raw = data[start:end]
            if held:
                held += raw
                raw = bytes(held)
                held.clear()
            events.append(Event(raw, self._bom))
            self._bom = False
            start = first = end
        if first - start > bom_bytes:  # there is no event, and blank lines do not wait for one
            events.append(Event(data[:first], self._bom))
            self._bom = False
            start = first
        held += data[start:]
        if len(data) - first > self._cap_bytes:
            raise EventTooLarge(self._cap_bytes, events)
        return events


def _blank_lines(data: bytes, at: int, before: int) -> Iterator[tuple[int, int]]:
    """Where events end: behind the first byte of a blank line, and behind all blank lines there.

    From `at` on, which is no blank line unless by what went `before` the data: the last byte of
    the held event, or 0 if none is held.
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
    """The first place not before `at` that is no part of a line end."""
    size = len(data)
    while at < size and data[at] in _BREAKS:
        at += 1
    return at


def _parse(block: bytes) -> _Fields:
    """The fields of an event, by WHATWG HTML section 9.2.6."""
    data: list[bytes] = []
    kind = b""
    last_id: bytes | None = None
    retry_ms: int | None = None
    is_comment = True
    for line in block.splitlines():
        name, _, value = line.partition(b":")
        if not name:
            continue  # blank, or a comment
        is_comment = False
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
        elif name == b"id" and b"\0" not in value:
            last_id = value
        elif name == b"retry" and value.isdigit():
            digits = value.lstrip(b"0")
            if len(digits) <= _RETRY_DIGITS:
                retry_ms = int(digits or b"0")
    return _Fields(
        b"\n".join(data) if data else None, kind or b"message", last_id, retry_ms, is_comment
    )


def between_events(tail: bytes) -> bool:
    """Whether a line of the gateway's own may follow the last bytes of a stream; none means that
    it begins.

    Behind a CR that ends a blank line the rest of a CRLF may be on its way, unless the line
    before it ended in a CR as well.
    """
    return not tail or tail.endswith((b"\n\n", b"\n\r\n", b"\r\r", b"\r\r\n"))


# -- making ----------------------------------------------------------------------------------


def event(data: bytes, type: bytes | None = None, event_id: bytes | None = None) -> bytes:
    """One event. A client gets every line end in `data` as LF.

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
    """The line ends that end an event which the stream's last bytes leave half-sent. Empty between
    events: a blank line there would be an event without data to the decoders that `comment` lists.
    """
    if between_events(tail):
        return b""
    return b"\n" if tail.endswith((b"\n", b"\n\r")) else b"\n\n"


def retry(ms: int) -> bytes:
    """A line that says how long to wait before connecting again. It counts at once (WHATWG HTML
    section 9.2.6); no blank line follows, as behind a `comment`.
    """
    if ms < 0:
        raise ValueError("a negative time to wait")
    return b"retry: %d\n" % ms


def with_id(raw: bytes, event_id: bytes, *, bom: bool = True) -> bytes:
    """The raw bytes of a whole event with this ID in its first line, in place of its own if any.

    What else is in it stays as it is; the new line ends as the event's first one does. Blank
    lines before the event stay there: behind the ID, they would part it from its data. `bom` is
    the event's, false if the bytes of a byte order mark at its beginning are not one, as after
    the first event of a stream.

    Raise ValueError for a line break or NUL in the ID.
    """
    start = len(_BOM) if bom and raw.startswith(_BOM) else 0
    first = _past_breaks(raw, start)
    if first == len(raw):
        first = start  # there are only blank lines, and one of them has to end the ID
    line = _id_line(event_id) + _line_end(raw, first)
    rest = raw[first:]
    if rest[:2] == b"id" or b"\nid" in rest or (b"\r" in rest and b"\rid" in rest):
        return raw[:first] + _without_ids(line, rest)
    return raw[:first] + line + rest


def _without_ids(line: bytes, rest: bytes) -> bytes:
    kept = [line]
    for own in rest.splitlines(keepends=True):
        if own.rstrip(_BREAKS).partition(b":")[0] == b"id":
            continue
        if own == b"\n" and kept[-1].endswith(b"\r"):
            kept.append(b"\n")  # with what stood between taken out, they have become a CRLF
        kept.append(own)
    return b"".join(kept)


def _line_end(raw: bytes, at: int) -> bytes:
    """How the line ends that holds this place."""
    lf, cr = raw.find(b"\n", at), raw.find(b"\r", at)
    if cr < 0 or 0 <= lf < cr:
        return b"\n"
    return b"\r\n" if lf == cr + 1 else b"\r"


def _id_line(event_id: bytes) -> bytes:
    if b"\0" in event_id:
        raise ValueError("an event ID with a NUL, which clients ignore")
    return b"id: %b" % _one_line(event_id)


def _one_line(value: bytes) -> bytes:
    if b"\n" in value or b"\r" in value:
        raise ValueError("a line break inside a field")
    return value
