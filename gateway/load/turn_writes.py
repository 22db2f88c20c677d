"""Writes of one turn of the event loop, sent together.

A write to a socket wakes the process that waits to read it. To wake a process costs several
microseconds, most of it an interrupt of another processor core, and more than the rest of the
write. A reader that is awake takes what comes next for nothing. If every answer leaves when it is
ready, 30 µs after the one before, the reader has gone to sleep again in between: a gateway with the
whole chain spent a fifth of its time on waking. So writes wait until the turn has handled
everything that had arrived, and then leave one right after the other.

No write waits for a quiet moment. It leaves at the latest when `MOST_WAITING` connections have one,
when large pieces of `MOST_BYTES` were handled meanwhile, or at the end of the turn, and the loop
does not poll its sockets before. Several writes of one connection leave in one call to the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

MOST_WAITING = 32
"""Connections with a waiting write, at which all are sent."""
_FEW = 4
"""Writes of a turn below which waiting costs more than it saves: to run the end of a turn takes
about 2 µs.
"""
_AT_ONCE = 32
"""Writes that do not wait after a turn with few. Then a turn tells again whether there are more."""
_LARGE_BYTES = 16 * 1024
"""Size above which nothing waits: so it is known soon that the kernel takes no more."""
MOST_BYTES = 256 * 1024
"""Bytes of large pieces, at which all are sent. So much takes about 0.3 ms to pass on."""

Data: TypeAlias = "bytes | bytearray | memoryview[Any]"


class TurnWrites:
    """Waiting writes of one event loop."""

    __slots__ = ("_passed", "_scheduled", "_sent", "at_once", "waiting")

    def __init__(self) -> None:
        self.waiting: list[TurnTransport] = []
        """Transports that hold a write."""
        self._sent = 0
        """Writes of this turn that are sent already."""
        self._passed = 0
        """Bytes of large pieces since the last were sent."""
        self._scheduled = False
        self.at_once = 0
        """Writes to come that do not wait."""

    def await_end(self) -> None:
        """Send the writes at the end of this turn. Needs a running event loop."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def passes(self, size: int) -> None:
        """Count a large piece of so many bytes, which takes the time of many small ones."""
        self._passed += size
        if self._passed >= MOST_BYTES:
            self.send()

    def _end_turn(self) -> None:
        self._scheduled = False
        self.send()
        if self._sent < _FEW:
            self.at_once = _AT_ONCE
        self._sent = 0

    def send(self) -> None:
        """Send what waits."""
        waiting, self.waiting = self.waiting, []  # a connection that is resumed may write again
        self._sent += len(waiting)
        self._passed = 0
        for each in waiting:
            data = each.held
            if data is None:
                continue  # it is sent already
            each.held = None
            try:
                each.transport.write(data)
            except Exception as exc:  # the writes of the other connections are still sent
                if not each.transport.is_closing():
                    asyncio.get_running_loop().call_exception_handler(
                        {"message": "a write failed", "exception": exc, "transport": each}
                    )


class TurnTransport(asyncio.Transport):
    """Transport of one connection, whose writes wait for the end of the turn.

    Whatever depends on the bytes being sent, sends them first: the size of the write buffer, the
    end of the stream, the end of the connection.
    """

    __slots__ = ("_writes", "held", "is_closing", "transport")

    is_closing: Callable[[], bool]
    """That of the transport itself, which saves a call for each event."""

    def __init__(self, transport: asyncio.Transport, writes: TurnWrites) -> None:
        super().__init__()
        self.transport = transport
        self.is_closing = transport.is_closing
        self.held: bytes | None = None
        """What waits."""
        self._writes = writes

    # -- writing ---------------------------------------------------------------------------

    def write(self, data: Data) -> None:
        if self.held is not None:
            self.held = held = b"".join((self.held, data))
            if len(held) > _LARGE_BYTES:
                self._writes.passes(len(held))
                self._send()
            return
        writes = self._writes
        if writes.at_once:
            writes.at_once -= 1
            self.transport.write(data)
        elif len(data) > _LARGE_BYTES or type(data) is not bytes:  # its owner may change it
            writes.passes(len(data))
            self.transport.write(data)
        else:
            self.held = data
            waiting = writes.waiting
            waiting.append(self)
            count = len(waiting)
            if count == 1:
                writes.await_end()
            elif count == MOST_WAITING:
                writes.send()

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        pieces = tuple(list_of_data)
        self._send()
        self._writes.passes(sum(map(len, pieces)))
        self.transport.writelines(pieces)

    def _send(self) -> None:
        """Send what waits, if the connection is still there."""
        data, self.held = self.held, None
        if data is not None and not self.transport.is_closing():
            self.transport.write(data)

    def write_eof(self) -> None:
        self._send()
        self.transport.write_eof()

    def can_write_eof(self) -> bool:
        return self.transport.can_write_eof()

    def get_write_buffer_size(self) -> int:
        self._send()
        return self.transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self.transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.transport.set_write_buffer_limits(high, low)

    # -- the end ---------------------------------------------------------------------------

    def close(self) -> None:
        self._send()
        self.transport.close()

    def abort(self) -> None:
        # As without this class: the kernel has what was written before.
        self._send()
        self.transport.abort()

    # -- everything else, as it is -----------------------------------------------------------

    def pause_reading(self) -> None:
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        self.transport.resume_reading()

    def is_reading(self) -> bool:
        return self.transport.is_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.transport.get_protocol()
