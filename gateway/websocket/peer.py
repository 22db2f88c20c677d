"""One endpoint of a WebSocket: read its frames, write ours, answer pings, send one close frame.

It has no socket and no timer: bytes arrive through `received`, leave through `write`, and the owner
calls the methods that depend on time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Protocol

from gateway.bucket import TokenBucket
from gateway.load.backlog import Backlog
from gateway.websocket.codes import Closing, Code, Violation, read_closing
from gateway.websocket.deflate import Deflate, Deflater, Inflater
from gateway.websocket.frames import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameReader,
    frame,
)

_CONTROL_PER_S, _CONTROL_BURST = 10.0, 64.0
"""Rate limit for pings and pongs. A well-behaved client sends at most one a second."""
_PACKING_PAYS_BYTES = 64
"""Minimum bytes of a message for compression."""


class PeerOwner(Protocol):
    """Owner of an endpoint. It receives what the endpoint has read."""

    def piece(self, peer: Peer, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        """Receive a piece of a message; see `FrameSink.piece`."""

    def pieces_end(self, peer: Peer) -> None:
        """Note that no more pieces come in this turn of the event loop: output can be flushed."""

    def closes(self, peer: Peer, closing: Closing) -> None:
        """Receive a close frame: the peer's first, or its answer to ours. Nothing follows."""

    def violates(self, peer: Peer, violation: Violation) -> None:
        """Handle a protocol violation. Nothing more is read from the peer."""


@dataclass(slots=True, eq=False, repr=False)
class Peer:
    """Endpoint for the client or the upstream."""

    owner: PeerOwner
    write: Callable[[bytes], None]
    now: Callable[[], float]
    backlog: Backlog
    _: KW_ONLY
    pause_connection: Callable[[], None]
    """Stop reading from its connection. `resume_connection` starts it again."""
    resume_connection: Callable[[], None]
    is_client: bool
    max_message_bytes: InitVar[int]
    messages: TokenBucket | None = None
    """Limit on the messages that the peer may send."""
    deflate: InitVar[Deflate | None] = None
    congested: bool = field(default=False, init=False)
    """True while its connection is congested and takes no more bytes."""
    answered: bool = field(default=True, init=False)
    """True if anything was received since the last ping."""
    pinged: bool = field(default=False, init=False)
    """True if a ping was sent."""
    closing: Closing | None = field(default=None, init=False)
    """Content of the close frame sent to the peer, or None."""
    has_closed: bool = field(default=False, init=False)
    """True if the peer has sent a close frame."""
    _paused: bool = field(default=False, init=False)
    _queued: bool = field(default=False, init=False)
    _finished: Callable[[], None] | None = field(default=None, init=False)
    _out: list[bytes] = field(default_factory=list, init=False)
    """Encoded frames that wait for `flush`."""
    _packing: bool = field(default=False, init=False)
    _pong: bytes | None = field(default=None, init=False)
    _controls: TokenBucket = field(init=False)
    _deflater: Deflater | None = field(init=False)
    _reader: FrameReader = field(init=False)

    def __post_init__(self, max_message_bytes: int, deflate: Deflate | None) -> None:
        self._controls = TokenBucket(_CONTROL_PER_S, _CONTROL_BURST)
        self._deflater = Deflater(deflate) if deflate is not None else None
        self._reader = FrameReader(
            self,
            masked=self.is_client,
            max_message_bytes=max_message_bytes,
            inflater=Inflater(deflate) if deflate is not None else None,
        )

    @property
    def is_mid_message(self) -> bool:
        """True while part of a message from this peer was read."""
        return self._reader.is_mid_message

    def received(self, data: bytes) -> None:
        """Read data. If it takes much work, read part of it in later turns of the event loop.

        The owner is told of everything read, violations included.
        """
        self.answered = self.answered or bool(data)
        self._read(data)

    def pause(self) -> None:
        """Pause reading: keep the peer's data until the other side's connection takes more.

        Data received already is kept too: a few compressed bytes can become many.
        """
        if self._finished is None:
            self._reader.held = True
            self._stop_reading()

    def resume(self) -> None:
        """Resume: read the kept data, then the connection."""
        if self._reader.held:
            self._reader.held = False
            self._continue()

    def finish(self, then: Callable[[], None]) -> None:
        """Read the kept data after the connection was lost, then call `then`.

        It ignores `pause`: a congested other side no longer pauses it.
        """
        self._finished = then
        self._reader.held = False
        self._continue()

    def _read(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
        except Violation as violation:
            reader.stopped = True
            self.owner.violates(self, violation)
        else:
            self.owner.pieces_end(self)
        if reader.left or self._paused:
            self._continue()

    def _continue(self) -> None:
        """Schedule the rest for a later turn; if nothing is left, resume reading the connection."""
        reader = self._reader
        if reader.held or self._queued:
            return
        if reader.left and not reader.stopped:
            self._queued = True
            self._stop_reading()
            self.backlog.add(self._read_on)
        elif self._finished is not None:
            self._finished()
        elif self._paused:
            self._paused = False
            self.resume_connection()

    def _read_on(self) -> None:
        self._queued = False
        if not self._reader.stopped:
            self._read(b"")

    def _stop_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self.pause_connection()

    def ignore(self) -> None:
        """Stop reading from the peer."""
        self._reader.stopped = True

    def send(self, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        """Queue a piece of a message for `flush`. Do nothing if a close frame was sent."""
        if self.closing is not None:
            return
        if self._deflater is not None:
            if first:
                self._packing = not final or len(payload) >= _PACKING_PAYS_BYTES
            if self._packing:
                payload = self._deflater.feed(payload, final=final)
        self._out.append(
            frame(
                opcode if first else CONTINUATION,
                payload,
                fin=final,
                packed=first and self._packing,
                mask=not self.is_client,
            )
        )

    def flush(self) -> None:
        """Write the queued frames in one call: each write can cost a system call."""
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.write(data)

    def send_texts(self, messages: Sequence[bytes]) -> None:
        """Write whole text messages. Do nothing if a close frame was sent."""
        for message in messages:
            self.send(TEXT, message, True, True)
        self.flush()

    def close_frame(self, closing: Closing) -> bytes:
        """Return the queued frames and the close frame to send; empty if one was sent before."""
        if self.closing is not None:
            return b""
        self.closing = closing
        self._out.append(frame(CLOSE, closing.payload, mask=not self.is_client))
        said = b"".join(self._out)
        self._out.clear()
        return said

    def ping(self, *, is_read: bool) -> bool:
        """Send a ping. Return False if the peer has sent nothing since the last ping.

        `is_read`: the connection is being read. If it is not, no answer can be seen and the result
        is True. The ping is sent all the same: writing shows whether the connection still exists.
        """
        if self.congested or self.has_closed or self.closing is not None:
            return True  # no answer is possible or needed
        if self.pinged and not self.answered and is_read:
            return False
        self.pinged, self.answered = True, False
        self.write(frame(PING, b"", mask=not self.is_client))
        return True

    def resume_writing(self) -> None:
        """Note that the connection takes bytes again, and send a delayed pong."""
        self.congested = False
        if self._pong is not None:
            payload, self._pong = self._pong, None
            self._answer(payload)

    def _answer(self, payload: bytes) -> None:
        if self.closing is not None:
            return
        if self.congested:
            self._pong = payload  # only the latest has to be answered (RFC 6455 section 5.5.3)
            return
        self.write(frame(PONG, payload, mask=not self.is_client))

    # Called by the reader.

    def piece(self, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        if first and self.messages is not None and self.messages.take(self.now()):
            raise Violation(Code.POLICY, "too many messages")
        self.owner.piece(self, opcode, payload, first, final)

    def control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            closing = read_closing(payload)
            self.has_closed = True
            self.owner.closes(self, closing)
            return
        if self._controls.take(self.now()):
            raise Violation(Code.POLICY, "too many pings")
        if opcode == PING:
            self._answer(payload)
