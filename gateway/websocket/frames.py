"""WebSocket frames (RFC 6455 section 5): bytes into messages, and back. No I/O here.

A reader holds no message: it hands on a frame of up to 64 KiB when the frame is whole, and a larger
one in pieces of 64 KiB, whatever the size of the TCP reads. Each piece becomes a frame, and peers
cap how many fragments a message may have: 16 MiB make 256. What goes on is framed anew, so that
nobody behind this line sees an encoding that was not looked at. Reading 200 masked bytes takes 2 µs
and framing them 1 µs, about what the `websockets` library takes; but that one holds every frame, up
to the largest message, until it is whole.
"""

from __future__ import annotations

import codecs
import os
from typing import Protocol

# Not public, but the lock file pins it: in Python 64 KiB take 150 µs, in C two.
from aiohttp._websocket.helpers import websocket_mask

from gateway.websocket.codes import Code, Violation
from gateway.websocket.deflate import Inflater

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_HOLD_BYTES = 64 * 1024
"""Largest piece of a frame that comes in several reads. A multiple of 4, so that each piece begins
with the first byte of the masking key.
"""
TURN_WORK = 16
"""Work that one call of `feed` does: a frame is 1, and each 4 KiB of payload are 1 more."""
_WORK_SHIFT = 12
_EMPTY_CAP = 128
"""Empty fragments of a message: they cost the sender nothing, and say nothing."""
_CONTROL_BYTES = 125


class FrameSink(Protocol):
    """Who is told what was read."""

    def piece(self, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        """A piece of a TEXT or BINARY message. Text is UTF-8; a character may span two pieces."""

    def control(self, opcode: int, payload: bytes) -> None:
        """A CLOSE, PING or PONG; it may come between two pieces."""


class FrameReader:
    """Reads what one side sends."""

    __slots__ = (
        "_at",
        "_begun",
        "_decoder",
        "_empty",
        "_ends",
        "_fin",
        "_frame_opcode",
        "_in_frame",
        "_inflated",
        "_inflater",
        "_key",
        "_left",
        "_masked",
        "_max_message",
        "_opcode",
        "_packed",
        "_parts",
        "_rest",
        "_sink",
        "_size",
        "_unpacking",
        "_work",
        "held",
        "left",
        "stopped",
    )

    def __init__(
        self,
        sink: FrameSink,
        *,
        masked: bool,
        max_message_bytes: int,
        inflater: Inflater | None = None,
    ) -> None:
        """`masked`: a client's frames, which have to be. `max_message_bytes` counts what is
        inflated, too. `inflater`: permessage-deflate was agreed on.
        """
        self._sink = sink
        self._masked = masked
        self._max_message = max_message_bytes
        self._inflater = inflater
        self.stopped = False
        """Nothing more is read: set after a close frame, or by whoever has lost interest."""
        self.held = False
        """What comes is kept for later: whoever it would go on to takes no more."""
        self.left = False
        """Bytes wait that could be read at once: `feed` stopped because of `held` or TURN_WORK."""
        self._rest = b""
        """Bytes that wait: those from `_at` on."""
        self._at = 0
        self._work = 0
        # Of the message:
        self._opcode = CONTINUATION
        """What it is; CONTINUATION between two messages."""
        self._packed = False
        self._unpacking = False
        """Some of it is still compressed."""
        self._ends = False
        """What is being unpacked is the last of it."""
        self._begun = False
        self._size = self._inflated = self._empty = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        # Of the frame:
        self._in_frame = False
        self._frame_opcode = 0
        self._fin = False
        self._left = 0
        self._key = b""
        self._parts = bytearray()
        """What has come of the frame, or of its next piece. Still masked."""

    def feed(self, data: bytes) -> None:
        """Read on, for at most TURN_WORK; `left` tells whether to call again.

        Raise Violation, after the sink was told what came before it.
        """
        at = 0
        if self._rest:
            if data:
                data = self._rest[self._at :] + data
            else:
                data, at = self._rest, self._at
            self._rest = b""
        end = len(data)
        self._work = TURN_WORK
        self.left = False
        while not self.stopped:
            if self.held or self._work <= 0:
                self._rest, self._at = data, at
                self.left = at < end or self._unpacking
                return
            if self._unpacking:
                self._unpack()
                continue
            if self._in_frame:
                taken = min(self._left, end - at, _HOLD_BYTES - len(self._parts))
                if not taken:
                    return
                self._continue_frame(data[at : at + taken])
                at += taken
                continue
            if end - at < 2:
                self._rest, self._at = data[at:], 0
                return
            first, length = data[at], data[at + 1]
            self._check_start(first, length)
            length &= 0x7F
            body = at + (2 if length < 126 else 4 if length == 126 else 10)
            start = body + 4 if self._masked else body
            if end < start:
                self._rest, self._at = data[at:], 0
                return
            if length > _CONTROL_BYTES:
                length = _long_length(data[at + 2 : body])
            opcode, fin = first & 0x0F, first >= 0x80
            key = data[body:start] if self._masked else b""
            self._work -= 1
            if opcode < CLOSE:
                self._begin_data(opcode, fin, length, packed=bool(first & 0x40))
            at = start + length
            if at <= end:
                payload = data[start:at]
                self._whole_frame(opcode, masked(payload, key) if key else payload, fin)
                continue
            self._in_frame = True
            self._frame_opcode, self._fin, self._left, self._key = opcode, fin, length, key
            at = start

    def _check_start(self, first: int, second: int) -> None:
        """Judge what the first two bytes of a frame say."""
        opcode, flags = first & 0x0F, first & 0x70
        # RSV1 says "compressed", on the first frame of a message.
        if flags and (flags != 0x40 or self._inflater is None or opcode not in (TEXT, BINARY)):
            raise Violation(Code.PROTOCOL_ERROR, "reserved bits are set")
        if (second >= 0x80) is not self._masked:
            wrong = "a frame is not masked" if self._masked else "a frame is masked"
            raise Violation(Code.PROTOCOL_ERROR, wrong)
        if opcode >= CLOSE:
            if opcode > PONG:
                raise Violation(Code.PROTOCOL_ERROR, "a reserved opcode")
            if first < 0x80 or second & 0x7F > _CONTROL_BYTES:
                raise Violation(Code.PROTOCOL_ERROR, "a control frame is long or in fragments")
        elif opcode > BINARY:
            raise Violation(Code.PROTOCOL_ERROR, "a reserved opcode")
        elif (opcode == CONTINUATION) is (self._opcode == CONTINUATION):
            raise Violation(Code.PROTOCOL_ERROR, "a fragment out of its message")

    def _begin_data(self, opcode: int, fin: bool, length: int, *, packed: bool) -> None:
        """A frame of a message begins. Its size is judged before any of it is held."""
        if opcode != CONTINUATION:
            self._opcode, self._packed = opcode, packed
            self._begun = False
            self._size = self._inflated = self._empty = 0
        self._size += length
        if self._size > self._max_message:
            raise self._too_big()
        if not (length or fin):
            self._empty += 1
            if self._empty > _EMPTY_CAP:
                raise Violation(Code.POLICY, "too many empty fragments")

    def _continue_frame(self, data: bytes) -> None:
        """More of a frame that was not whole."""
        parts = self._parts
        parts += data
        self._left -= len(data)
        if self._left and len(parts) < _HOLD_BYTES:
            return
        if self._key:
            websocket_mask(self._key, parts)
        payload = bytes(parts)
        parts.clear()
        if self._left:
            self._hand_on(payload, final=False)
        else:
            self._in_frame = False
            self._whole_frame(self._frame_opcode, payload, self._fin)

    def _whole_frame(self, opcode: int, payload: bytes, fin: bool) -> None:
        if opcode < CLOSE:
            self._hand_on(payload, final=fin)
            return
        if opcode == CLOSE:
            self.stopped = True
        self._sink.control(opcode, payload)

    def _hand_on(self, payload: bytes, *, final: bool) -> None:
        if self._packed:
            assert self._inflater is not None
            self._inflater.take(payload, final=final)
            self._unpacking, self._ends = True, final
        else:
            self._say(payload, final=final)

    def _unpack(self) -> None:
        """A few compressed bytes can be many: hand on a piece of them."""
        assert self._inflater is not None
        data, given = self._inflater.give(_HOLD_BYTES)
        self._inflated += len(data)
        if self._inflated > self._max_message:
            raise self._too_big()
        self._unpacking = not given
        self._say(data, final=given and self._ends)

    def _say(self, payload: bytes, *, final: bool) -> None:
        opcode, first = self._opcode, not self._begun
        self._work -= len(payload) >> _WORK_SHIFT
        if opcode == TEXT:
            self._check_text(payload, first=first, final=final)
        if final:
            self._opcode = CONTINUATION
            self._decoder = None
        elif not payload:
            return
        self._begun = True
        self._sink.piece(opcode, payload, first, final)

    def _check_text(self, payload: bytes, *, first: bool, final: bool) -> None:
        try:
            if first and final:
                payload.decode()
                return
            if self._decoder is None:
                self._decoder = codecs.getincrementaldecoder("utf-8")()
            self._decoder.decode(payload, final)
        except UnicodeDecodeError:
            raise Violation(Code.INVALID_TEXT, "a text message is not UTF-8") from None

    def _too_big(self) -> Violation:
        return Violation(Code.TOO_BIG, f"a message is larger than {self._max_message} bytes")


def frame(
    opcode: int, payload: bytes, *, fin: bool = True, packed: bool = False, mask: bool = False
) -> bytes:
    """A frame. `mask`: with a key of its own, as clients have to; `packed`: the message that it
    begins is compressed.
    """
    first = opcode | (0x80 if fin else 0) | (0x40 if packed else 0)
    bit, length = 0x80 if mask else 0, len(payload)
    if length < 126:
        head = bytes((first, bit | length))
    elif length < 65536:
        head = bytes((first, bit | 126, length >> 8, length & 0xFF))
    else:
        head = bytes((first, bit | 127)) + length.to_bytes(8, "big")
    if not mask:
        return head + payload
    key = os.urandom(4)
    return b"".join((head, key, masked(payload, key)))


def masked(data: bytes, key: bytes) -> bytes:
    """Data with the key laid over it; the same again takes it off (RFC 6455 section 5.3)."""
    turned = bytearray(data)
    websocket_mask(key, turned)
    return bytes(turned)


def _long_length(field: bytes) -> int:
    length = int.from_bytes(field, "big")
    least = 126 if len(field) == 2 else 65536
    if not least <= length < 2**63:
        raise Violation(Code.PROTOCOL_ERROR, "a frame's length is not in its shortest form")
    return length
