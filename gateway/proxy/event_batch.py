"""Micro-batching: events of a stream that come within a short time are sent in one write.

A write costs a system call here, a packet on the network and a wake-up of the client, whatever its
size. A route with `batch` trades some delay for fewer of them. The bytes are joined and never
changed. A route without `batch` does not use this file.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from gateway.deadline import NEVER, MovingDeadline
from gateway.exchange import Exchange
from gateway.response_writer import ResponseWriter

_TYPE = re.compile(rb"(?:^|[\r\n])event:[ ]?([^\r\n]*)")
_DONE = b"[DONE]"
"""Data of the last event of OpenAI's streams."""
_BLANK_LINE = b"\n\n"


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Conditions under which gathered events are sent."""

    max_delay_s: float
    """Longest time that an event waits, and longest pause between two events that may share a
    write.
    """
    max_bytes: int
    max_events: int


class EventBatch:
    """Events of one stream that wait to be written together.

    An event waits only while a stream flows: after its first token, less than `max_delay_s` behind
    the event before it, and if it is of the same type. Every other event is written at once, behind
    those that wait. So are all events while the client is behind: then the writer gathers them.
    """

    __slots__ = (
        "_bytes",
        "_deadline",
        "_events",
        "_exchange",
        "_held",
        "_last_at",
        "_loop",
        "_options",
        "_type",
        "_write",
        "_writer",
        "begun",
        "look",
    )

    def __init__(
        self,
        options: BatchOptions,
        exchange: Exchange,
        writer: ResponseWriter,
        write: Callable[[bytes], object],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`write` passes bytes on to `writer`."""
        self.look: Callable[[bytes], bytes] | None = None
        """Function that inspects each piece when it arrives and returns the part to send."""
        self.begun = False
        """True once the first token was written."""
        self._options = options
        self._exchange = exchange
        self._writer = writer
        self._write = write
        self._loop = loop
        self._deadline = MovingDeadline(loop, self.flush)
        self._held: list[bytes] = []
        self._bytes = self._events = 0
        """Size of the pieces that wait, and number of their events."""
        self._last_at = loop.time()
        """Time at which the last piece arrived, by the loop's clock. The first one may have been
        written with the head.
        """
        self._type: bytes | None = None
        """Type of the last event; None if it named none."""

    def feed(self, data: bytes) -> None:
        """Inspect a piece that has just arrived. Write it, or let it wait."""
        look = self.look
        if look is not None and not (data := look(data)):
            return
        flows = self._flows(data)
        self._held.append(data)
        self._bytes += len(data)
        self._events += data.count(_BLANK_LINE) or 1
        options = self._options
        if not flows or self._bytes >= options.max_bytes or self._events >= options.max_events:
            self.flush()
            if not self.begun:
                self.begun = self._exchange.first_token_at is not None
        elif len(self._held) == 1:
            self._deadline.move(self._last_at + options.max_delay_s)

    def flush(self) -> None:
        """Write what waits, if anything does."""
        self._deadline.at = NEVER
        held = self._held
        if held:
            self._held = []
            self._bytes = self._events = 0
            self._write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        """Drop the waiting events: the client has left, or the stream has ended."""
        self._deadline.close()
        self._held = []

    def _flows(self, data: bytes) -> bool:
        """Tell whether a piece may wait for the next one. Note its time and its type."""
        before, self._last_at = self._last_at, self._loop.time()
        same_type = True
        if data.find(b"event:") >= 0:  # `in` takes longer for bytes: see gateway/sse.py
            types = _TYPE.findall(data)
            same_type = all(kind == self._type for kind in types)
            if types:
                self._type = types[-1]
        elif self._type is not None and data.find(b"data:") >= 0:
            self._type, same_type = None, False  # of the default type
        return (
            same_type
            and self.begun
            and self._last_at - before < self._options.max_delay_s
            and data.find(_DONE) < 0
            and not self._writer.behind
        )
