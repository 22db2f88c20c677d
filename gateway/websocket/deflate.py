"""permessage-deflate (RFC 7692): what was agreed on, and compressing by it. No I/O here.

Windows of 4 KiB, where the client lets us choose: a session then holds 45 KiB for it, not 300.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from gateway.websocket.codes import Code, Violation

_TAIL = b"\x00\x00\xff\xff"
"""What a flush ends in, and what is left out on the wire."""
_WINDOW_BITS = 12
_MEMORY_LEVEL = 5
_STREAMS_CAP = 16
"""Compressed streams in one piece of a message."""
_WINDOWS = {str(bits): bits for bits in range(8, 16)}
_FORGETS = ("server_no_context_takeover", "client_no_context_takeover")


@dataclass(frozen=True, slots=True)
class Deflate:
    """What both sides keep to. Window sizes in bits."""

    ours: int
    theirs: int
    we_forget: bool
    """Each of our messages begins with an empty window."""
    they_forget: bool
    answer: str
    """The Sec-WebSocket-Extensions that agrees to it."""


class Inflater:
    """Unpacks the messages of one side, as much at a time as is asked for."""

    def __init__(self, agreed: Deflate) -> None:
        self._bits = agreed.theirs
        self._forgets = agreed.they_forget
        self._stream = self._new()
        self._streams = 0
        self._packed = b""
        self._final = False

    def take(self, packed: bytes, *, final: bool) -> None:
        """The next piece of a message; everything of the one before has been given."""
        self._packed = packed + _TAIL if final else packed
        self._final = final
        self._streams = 0

    def give(self, most_bytes: int) -> tuple[bytes, bool]:
        """What the piece holds, and whether that was all of it. Raise Violation."""
        stream = self._stream
        try:
            data = stream.decompress(self._packed, most_bytes)
        except zlib.error:
            raise Violation(Code.INVALID_TEXT, "a message is not compressed") from None
        if stream.eof:
            # A sender may end its stream within a message, and begin another (section 7.2.3.4).
            self._packed, self._stream = stream.unused_data, self._new()
            self._streams += 1
            if self._streams > _STREAMS_CAP:
                raise Violation(Code.POLICY, "a message is compressed in too many streams")
            given = not self._packed
        else:
            self._packed = stream.unconsumed_tail
            given = len(data) < most_bytes
        if given and self._final and self._forgets:
            self._stream = self._new()
        return data, given

    def _new(self) -> zlib._Decompress:
        return zlib.decompressobj(-self._bits)


class Deflater:
    """Packs the messages that we send."""

    def __init__(self, agreed: Deflate) -> None:
        self._bits = agreed.ours
        self._forgets = agreed.we_forget
        self._stream = self._new()

    def feed(self, data: bytes, *, final: bool) -> bytes:
        """A piece of a message, packed so that the other side can read all of it."""
        packed = self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        if not final:
            return packed
        if self._forgets:
            self._stream = self._new()
        return packed.removesuffix(_TAIL)

    def _new(self) -> zlib._Compress:
        return zlib.compressobj(1, zlib.DEFLATED, -self._bits, _MEMORY_LEVEL)


def agree(offers: str) -> Deflate | None:
    """The first offer of a Sec-WebSocket-Extensions that can be taken."""
    for offer in offers.split(","):
        name, *fields = (part.strip() for part in offer.split(";"))
        if name == "permessage-deflate" and (agreed := _take(fields)) is not None:
            return agreed
    return None


def _take(fields: list[str]) -> Deflate | None:
    given: dict[str, str | None] = {}
    for field in fields:
        name, equals, value = (part.strip() for part in field.partition("="))
        if name in given:
            return None
        given[name] = value.strip('"') if equals else None
    ours, theirs = _WINDOW_BITS, 15
    answer = ["permessage-deflate"]
    for name in _FORGETS:
        if name in given:
            if given.pop(name) is not None:
                return None
            answer.append(name)
    if "server_max_window_bits" in given:
        bits = _WINDOWS.get(given.pop("server_max_window_bits") or "")
        if bits is None or bits == 8:  # zlib cannot
            return None
        ours = min(ours, bits)
    answer.append(f"server_max_window_bits={ours}")
    if "client_max_window_bits" in given:
        said = given.pop("client_max_window_bits")
        most = 15 if said is None else _WINDOWS.get(said)
        if most is None:
            return None
        # An inflater with a larger window reads what was packed for a smaller one.
        theirs = max(9, min(most, _WINDOW_BITS))
        answer.append(f"client_max_window_bits={min(most, _WINDOW_BITS)}")
    if given:
        return None
    return Deflate(ours, theirs, _FORGETS[0] in answer, _FORGETS[1] in answer, "; ".join(answer))
