"""Detection of clients that are gone after their FIN.

In TCP, the FIN of a client that is gone looks like that of one that only stopped sending. But a
client that is gone answers any byte with a reset. So the gateway sends bytes without meaning, and
asks the kernel for the state of the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_TCP_CLOSE = 7  # linux/tcp_states.h
_FIRST_S, _LONGEST_S = 0.001, 1.0

CAN_TELL = _TCP_INFO is not None
"""True if the kernel of this system reports the state of a TCP connection."""


class HalfClosed:
    """Watch over one connection after its client's FIN. Cuts it when the client is gone."""

    __slots__ = ("_delay_s", "_loop", "_tcp", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tcp: asyncio.Transport, say: Callable[[], None]
    ) -> None:
        """Start to watch. `say` sends bytes without meaning; it is called once, here."""
        self._loop = loop
        self._tcp = tcp
        self._delay_s = _FIRST_S
        say()
        self._timer = loop.call_later(self._delay_s, self._look)

    def close(self) -> None:
        """Stop watching: the connection is closed."""
        self._timer.cancel()

    def _look(self) -> None:
        assert _TCP_INFO is not None
        # The event loop does not poll a socket after its EOF, so ask the kernel.
        said = self._tcp.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)
        if said[0] == _TCP_CLOSE:
            self._tcp.abort()
            return
        self._delay_s = min(2 * self._delay_s, _LONGEST_S)
        self._timer = self._loop.call_later(self._delay_s, self._look)
