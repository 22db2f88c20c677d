"""Send timeout: a connection is cut when its client has read no byte for too long."""

from __future__ import annotations

import asyncio

_LOOKS = 10
"""Number of checks of a slow client within its timeout."""


class SendTimeout:
    """Send timeout of one connection. Uses a timer only while bytes wait to be sent."""

    __slots__ = ("_buffered", "_looks", "_loop", "_tcp", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, tcp: asyncio.Transport) -> None:
        self._loop = loop
        self._tcp = tcp
        self._timer: asyncio.TimerHandle | None = None
        self._buffered = 0
        self._looks = 0

    def begin(self, timeout_s: float) -> None:
        """Start to watch, since bytes wait for the client. Cut the connection if the client reads
        none of them for `timeout_s`.
        """
        if self._timer is None:
            self._buffered = self._tcp.get_write_buffer_size()
            self._looks = 0
            self._wait(timeout_s)

    def close(self) -> None:
        """Stop watching: the connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, timeout_s: float) -> None:
        self._timer = self._loop.call_later(timeout_s / _LOOKS, self._look, timeout_s)

    def _look(self, timeout_s: float) -> None:
        # The size sends what waits, and may so have the connection call `begin`: `_timer` is set.
        buffered = self._tcp.get_write_buffer_size()
        self._timer = None
        if not buffered:
            return
        self._looks = self._looks + 1 if buffered >= self._buffered else 0
        self._buffered = buffered
        if self._looks >= _LOOKS:
            self._tcp.abort()
            return
        self._wait(timeout_s)
