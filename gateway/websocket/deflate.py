"""WebSocket compression, permessage-deflate (RFC 7692): negotiation and codecs. No I/O here.

The gateway uses windows of 4 KiB if the client permits. A session then needs 45 KiB of memory for
compression instead of 300.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from gateway.websocket.codes import Code, Violation

_TAIL = b"\x00\x00\xff\xff"
"""Bytes at the end of a flush, which are omitted on the wire."""
_WINDOW_BITS = 12
_MEMORY_LEVEL = 5
_STREAMS_CAP = 16
"""Maximum compressed streams in one piece of a message."""
_WINDOWS = {str(bits): bits for bits in range(8, 16)}
_FORGETS = ("server_no_context_takeover", "client_no_context_takeover")


@dataclass(frozen=True, slots=True)
class Deflate:
    """Negotiated parameters, window sizes in bits. `ours` is the gateway, `theirs` the client."""

    ours: int
    theirs: int
    we_forget: bool
    """True if each message of the gateway starts with an empty window."""
    they_forget: bool
    answer: str
    """Value of Sec-WebSocket-Extensions that accepts the offer."""


class Inflater:
    """Decompressor for the messages of one side, with bounded output for each call."""

    def __init__(self, agreed: Deflate) -> None:
        self._bits = agreed.theirs
        self._forgets = agreed.they_forget
        self._stream = self._new()
        self._streams = 0
        self._packed = b""
        self._final = False

    def take(self, packed: bytes, *, final: bool) -> None:
        """Set the next piece of a message. The piece before it must be fully decompressed."""
        self._packed = packed + _TAIL if final else packed
        self._final = final
        self._streams = 0

    def give(self, most_bytes: int) -> tuple[bytes, bool]:
        """Return decompressed data, and True if the piece is exhausted. Raise Violation."""
        stream = self._stream
        try:
            data = stream.decompress(self._packed, most_bytes)
        except zlib.error:
            raise Violation(Code.INVALID_TEXT, "a message is not compressed") from None
        if stream.eof:
            # A sender may end its stream within a message and begin another (section 7.2.3.4).
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
    """Compressor for the messages that the gateway sends."""

    def __init__(self, agreed: Deflate) -> None:
        self._bits = agreed.ours
        self._forgets = agreed.we_forget
        self._stream = self._new()

    def feed(self, data: bytes, *, final: bool) -> bytes:
        """Compress a piece of a message. The receiver can decompress it without the next piece."""
        packed = self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        if not final:
            return packed
        if self._forgets:
            self._stream = self._new()
        return packed.removesuffix(_TAIL)

    def _new(self) -> zlib._Compress:
        return zlib.compressobj(1, zlib.DEFLATED, -self._bits, _MEMORY_LEVEL)


def agree(offers: str) -> Deflate | None:
    """Return the first acceptable offer in a Sec-WebSocket-Extensions value, or None."""
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
        if bits is None or bits == 8:  # zlib does not support it
            return None
        ours = min(ours, bits)
    answer.append(f"server_max_window_bits={ours}")
    if "client_max_window_bits" in given:
        said = given.pop("client_max_window_bits")
        most = 15 if said is None else _WINDOWS.get(said)
        if most is None:
            return None
        # An inflater with a larger window can read data compressed with a smaller one.
        theirs = max(9, min(most, _WINDOW_BITS))
        answer.append(f"client_max_window_bits={min(most, _WINDOW_BITS)}")
    if given:
        return None
    return Deflate(ours, theirs, _FORGETS[0] in answer, _FORGETS[1] in answer, "; ".join(answer))
