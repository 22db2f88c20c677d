"""One endpoint of a WebSocket: read its frames, write ours, answer pings, send one close frame.

It has no socket and no timer: bytes arrive through `received`, leave through `write`, and the owner
calls the methods that depend on time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.backlog import Backlog
from gateway.bucket import TokenBucket
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


class Peer:
    """Endpoint for the client or the upstream."""

    __slots__ = (
        "_backlog",
        "_controls",
        "_deflater",
        "_finished",
        "_masks",
        "_messages",
        "_now",
        "_out",
        "_owner",
        "_packing",
        "_pause_connection",
        "_paused",
        "_pong",
        "_queued",
        "_reader",
        "_resume_connection",
        "_write",
        "answered",
        "closing",
        "congested",
        "has_closed",
        "pinged",
    )

    def __init__(
        self,
        owner: PeerOwner,
        write: Callable[[bytes], None],
        now: Callable[[], float],
        backlog: Backlog,
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
        is_client: bool,
        max_message_bytes: int,
        messages: TokenBucket | None = None,
        deflate: Deflate | None = None,
    ) -> None:
        """Create the endpoint. `pause` and `resume` stop and start reading from its connection.

        `messages` limits the messages that the peer may send.
        """
        self._owner = owner
        self._backlog = backlog
        self._pause_connection, self._resume_connection = pause, resume
        self._paused = self._queued = False
        self._finished: Callable[[], None] | None = None
        self._out: list[bytes] = []
        """Encoded frames that wait for `flush`."""
        self._write = write
        self._now = now
        self._masks = not is_client
        self._messages = messages
        self._controls = TokenBucket(_CONTROL_PER_S, _CONTROL_BURST)
        self._deflater = Deflater(deflate) if deflate is not None else None
        self._packing = False
        self._reader = FrameReader(
            self,
            masked=is_client,
            max_message_bytes=max_message_bytes,
            inflater=Inflater(deflate) if deflate is not None else None,
        )
        self._pong: bytes | None = None
        self.congested = False
        """True while its connection is congested and takes no more bytes."""
        self.answered = True
        """True if anything was received since the last ping."""
        self.pinged = False
        """True if a ping was sent."""
        self.closing: Closing | None = None
        """Content of the close frame sent to the peer, or None."""
        self.has_closed = False
        """True if the peer has sent a close frame."""

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
            self._owner.violates(self, violation)
        else:
            self._owner.pieces_end(self)
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
            self._backlog.add(self._read_on)
        elif self._finished is not None:
            self._finished()
        elif self._paused:
            self._paused = False
            self._resume_connection()

    def _read_on(self) -> None:
        self._queued = False
        if not self._reader.stopped:
            self._read(b"")

    def _stop_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._pause_connection()

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
                mask=self._masks,
            )
        )

    def flush(self) -> None:
        """Write the queued frames in one call: each write can cost a system call."""
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self._write(data)

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
        self._out.append(frame(CLOSE, closing.payload, mask=self._masks))
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
        self._write(frame(PING, b"", mask=self._masks))
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
        self._write(frame(PONG, payload, mask=self._masks))

    # Called by the reader.

    def piece(self, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        if first and self._messages is not None and self._messages.take(self._now()):
            raise Violation(Code.POLICY, "too many messages")
        self._owner.piece(self, opcode, payload, first, final)

    def control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            closing = read_closing(payload)
            self.has_closed = True
            self._owner.closes(self, closing)
            return
        if self._controls.take(self._now()):
            raise Violation(Code.POLICY, "too many pings")
        if opcode == PING:
            self._answer(payload)
