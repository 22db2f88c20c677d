"""One end of a WebSocket: reads its frames, writes ours, answers its pings, says goodbye once.

It has no socket and no clock of its own: bytes come in by `received`, go out by `write`, and what
has to happen in time is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

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
"""Pings and pongs: what a careful client sends is one a second at most."""
_PACKING_PAYS_BYTES = 64
"""A shorter message is not compressed."""


class Owner(Protocol):
    """Who uses the end."""

    def piece(self, peer: Peer, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        """A piece of a message came, as `FrameSink.piece` says."""

    def says_goodbye(self, peer: Peer, closing: Closing) -> None:
        """It sent a close frame: its first, or the answer to ours. Nothing follows."""

    def breaks(self, peer: Peer, violation: Violation) -> None:
        """It broke a rule. Nothing more is read of it."""


class Rate:
    """A token bucket, as the time at which it will be full."""

    __slots__ = ("_burst_s", "_each_s", "_full_at")

    def __init__(self, per_s: float, burst: float) -> None:
        self._each_s = 1.0 / per_s
        self._burst_s = burst / per_s
        self._full_at = 0.0

    def take(self, now: float) -> bool:
        """Take one. False: there is none."""
        after = max(self._full_at, now) + self._each_s
        if after - now > self._burst_s + 1e-9:
            return False
        self._full_at = after
        return True


class Peer:
    """The client, or the upstream."""

    __slots__ = (
        "_controls",
        "_deflater",
        "_masks",
        "_messages",
        "_now",
        "_owner",
        "_packing",
        "_pong",
        "_reader",
        "_write",
        "asked",
        "behind",
        "closing",
        "heard",
        "said_goodbye",
    )

    def __init__(
        self,
        owner: Owner,
        write: Callable[[bytes], None],
        now: Callable[[], float],
        *,
        is_client: bool,
        max_message_bytes: int,
        messages: Rate | None = None,
        deflate: Deflate | None = None,
    ) -> None:
        """`messages` is how many it may send."""
        self._owner = owner
        self._write = write
        self._now = now
        self._masks = not is_client
        self._messages = messages
        self._controls = Rate(_CONTROL_PER_S, _CONTROL_BURST)
        self._deflater = Deflater(deflate) if deflate is not None else None
        self._packing = False
        self._reader = FrameReader(
            self,
            masked=is_client,
            max_message_bytes=max_message_bytes,
            inflater=Inflater(deflate) if deflate is not None else None,
        )
        self._pong: bytes | None = None
        self.behind = False
        """It takes no more bytes for now."""
        self.heard = True
        """Something came since the last ping."""
        self.asked = False
        """A ping was sent."""
        self.closing: Closing | None = None
        """What was said to it last."""
        self.said_goodbye = False
        """It has sent a close frame."""

    def received(self, data: bytes) -> None:
        """Read what came. The owner is told of everything, violations included."""
        self.heard = self.heard or bool(data)
        try:
            self._reader.feed(data)
        except Violation as violation:
            self._reader.stopped = True
            self._owner.breaks(self, violation)

    def hold(self) -> None:
        """Keep what it sends: the other one is behind. A few compressed bytes can be many."""
        self._reader.held = True

    def go_on(self) -> bool:
        """Read what was kept. False: it is held again."""
        self._reader.held = False
        self.received(b"")
        return not self._reader.held

    def ignore(self) -> None:
        """Read nothing more of it."""
        self._reader.stopped = True

    def send(self, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        """Write a piece of a message, unless it was told goodbye."""
        if self.closing is not None:
            return
        if self._deflater is not None:
            if first:
                self._packing = not final or len(payload) >= _PACKING_PAYS_BYTES
            if self._packing:
                payload = self._deflater.feed(payload, final=final)
        self._write(
            frame(
                opcode if first else CONTINUATION,
                payload,
                fin=final,
                packed=first and self._packing,
                mask=self._masks,
            )
        )

    def say(self, messages: Sequence[bytes]) -> None:
        """Write whole text messages, in one piece, unless it was told goodbye."""
        if self._deflater is not None or len(messages) == 1:
            for message in messages:
                self.send(TEXT, message, True, True)
        elif self.closing is None:
            self._write(b"".join([frame(TEXT, text, mask=self._masks) for text in messages]))

    def goodbye(self, closing: Closing) -> bytes:
        """The close frame to send: its only one. Empty if it was sent before."""
        if self.closing is not None:
            return b""
        self.closing = closing
        return frame(CLOSE, closing.payload, mask=self._masks)

    def ping(self, *, is_read: bool) -> bool:
        """Ask whether it is there. False: it did not say a word since it was asked last.

        Of one that is not read for now no answer can be seen; but the bytes show whether its
        connection is there, which nobody sees either who does not read.
        """
        if self.behind or self.said_goodbye or self.closing is not None:
            return True  # it cannot answer, or need not
        if self.asked and not self.heard and is_read:
            return False
        self.asked, self.heard = True, False
        self._write(frame(PING, b"", mask=self._masks))
        return True

    def caught_up(self) -> None:
        """It takes bytes again."""
        self.behind = False
        if self._pong is not None:
            payload, self._pong = self._pong, None
            self._answer(payload)

    def _answer(self, payload: bytes) -> None:
        if self.closing is not None:
            return
        if self.behind:
            self._pong = payload  # only the latest has to be answered (RFC 6455 section 5.5.3)
            return
        self._write(frame(PONG, payload, mask=self._masks))

    # The reader calls these.

    def piece(self, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        if first and self._messages is not None and not self._messages.take(self._now()):
            raise Violation(Code.POLICY, "too many messages")
        self._owner.piece(self, opcode, payload, first, final)

    def control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            closing = read_closing(payload)
            self.said_goodbye = True
            self._owner.says_goodbye(self, closing)
            return
        if not self._controls.take(self._now()):
            raise Violation(Code.POLICY, "too many pings")
        if opcode == PING:
            self._answer(payload)
