"""After a client's FIN: has it only stopped sending, or is it gone?

TCP does not say. But one that is gone answers any byte with a reset, so it is sent some that mean
nothing, and the kernel is asked what came of it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_TCP_CLOSE = 7  # linux/tcp_states.h
_FIRST_S, _LONGEST_S = 0.001, 1.0

CAN_TELL = _TCP_INFO is not None
"""Whether this system's kernel can be asked."""


class HalfClosed:
    """Of one connection whose client sends no more: it is cut when the client is gone."""

    __slots__ = ("_delay_s", "_loop", "_tcp", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tcp: asyncio.Transport, say: Callable[[], None]
    ) -> None:
        """`say` sends the bytes that mean nothing."""
        self._loop = loop
        self._tcp = tcp
        self._delay_s = _FIRST_S
        say()
        self._timer = loop.call_later(self._delay_s, self._look)

    def close(self) -> None:
        """The connection is gone."""
        self._timer.cancel()

    def _look(self) -> None:
        assert _TCP_INFO is not None
        # The event loop does not poll a socket that was read to its end.
        said = self._tcp.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)
        if said[0] == _TCP_CLOSE:
            self._tcp.abort()
            return
        self._delay_s = min(2 * self._delay_s, _LONGEST_S)
        self._timer = self._loop.call_later(self._delay_s, self._look)
