"""The connection pool of one endpoint: idle connections for reuse, and new ones up to a limit."""

from __future__ import annotations

import asyncio

from gateway.errors import UpstreamBusy
from gateway.load.backlog import Backlog
from gateway.load.turn_writes import TurnWrites
from gateway.upstream.connection import ConnectionState, UpstreamConnection
from gateway.upstream.credential_mask import CredentialMask
from gateway.upstream.dialer import Dialer
from gateway.upstream.opening import ConnectionOpening, ConnectionTaker, FutureTaker, closed_at_once

_READ_BYTES = 32 * 1024
"""Size of one read. A slow client's buffer exceeds its limit by at most this much: a stream that
nobody reads takes 91 KiB, and 110 with reads of 64 KiB. Events cost the same, and a body of many
MiB some 5 % more.
"""
_BURST = 8
"""Number of connections being opened at the same time that counts as a burst."""
_AHEAD_CAP = 16
"""Maximum number of connections opened ahead after one burst."""
AHEAD_PAUSE_S = 0.05
"""Time between a burst and the opening ahead: the requests of the burst come first."""


class EndpointPool:
    """Connection pool of one endpoint."""

    def __init__(
        self,
        dialer: Dialer,
        *,
        max_connections: int,
        keepalive_s: float,
        writes: TurnWrites,
        end_mark: bool = True,
        mask: CredentialMask | None = None,
    ) -> None:
        """`writes`, `end_mark` and `mask`: see `UpstreamConnection`."""
        self.address = dialer.address
        self.dialer = dialer
        self._open = 0
        self.max = max_connections
        self._keepalive_s = keepalive_s
        self._end_mark = end_mark
        self._mask = mask
        self._writes = writes
        # Last in, first out: the server is least likely to have closed the connection that was used
        # last, and connections left over from a busy period expire.
        self._idle: dict[UpstreamConnection, None] = {}  # a list would be searched at each close
        self._closed = False
        self.opens_ahead = True
        """False while the endpoint is out of service: nothing is opened ahead."""
        self._openings: set[ConnectionOpening] = set()
        """Connections being opened for requests."""
        self._burst = 0
        """The most of them at the same time, since there were none."""
        self._ahead: set[ConnectionOpening] = set()
        """Connections being opened before a request needs them."""
        self._backlog: Backlog | None = None
        self._buffer = memoryview(bytearray(_READ_BYTES))

    @property
    def has_credential(self) -> bool:
        """True if requests carry a credential of the gateway's own."""
        return self._mask is not None

    @property
    def open(self) -> int:
        """Number of open connections, idle ones included."""
        return self._open

    @property
    def idle(self) -> int:
        """Number of connections that wait for a request."""
        return len(self._idle)

    def take_idle(self) -> UpstreamConnection | None:
        """Return an idle connection that is still usable, or None."""
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    def open_for(self, taker: ConnectionTaker, timeout_s: float) -> ConnectionOpening:
        """Open a connection for a request. Raise UpstreamBusy at the connection limit."""
        opening = self._opening(taker, timeout_s)
        self._openings.add(opening)
        self._burst = max(self._burst, len(self._openings))
        return opening

    async def connect(self, timeout_s: float) -> UpstreamConnection:
        """Open a connection, from a coroutine.

        Raise UpstreamBusy at the connection limit, UpstreamConnectFailed or UpstreamConnectTimeout.
        """
        taker = FutureTaker(asyncio.get_running_loop())
        opening = self.open_for(taker, timeout_s)
        try:
            connection = await taker
        except asyncio.CancelledError:
            taker.leave(opening)
            raise
        if connection.state is ConnectionState.CLOSED:
            # Between the opening and this, a turn of the event loop later.
            raise closed_at_once(connection, self.address.url)
        return connection

    def _opening(self, taker: ConnectionTaker, timeout_s: float) -> ConnectionOpening:
        if self._open >= self.max:
            raise UpstreamBusy
        self._open += 1
        loop = asyncio.get_running_loop()
        if self._backlog is None:
            self._backlog = Backlog(loop)
        connection = UpstreamConnection(
            loop,
            self._now_idle,
            self._now_closed,
            self._buffer,
            self._backlog,
            self._writes,
            keepalive_s=self._keepalive_s,
            end_mark=self._end_mark,
            mask=self._mask,
        )
        return ConnectionOpening(loop, connection, self.dialer, timeout_s, taker, self._opened)

    def _opened(self, opening: ConnectionOpening, success: bool) -> None:
        """Note the end of an opening, and open some ahead after the last one of a burst."""
        if opening in self._ahead:
            self._ahead.discard(opening)
            return
        self._openings.discard(opening)
        if not success:
            self._burst = 0  # nothing is opened ahead where a connect fails
        elif not self._openings:
            burst, self._burst = self._burst, 0
            if burst >= _BURST:
                asyncio.get_running_loop().call_later(
                    AHEAD_PAUSE_S, self._open_ahead, burst // 4, opening.timeout_s
                )

    def _open_ahead(self, count: int, timeout_s: float) -> None:
        """Open up to `count` idle connections after a burst, because the next one may be larger.

        A quarter of the limit is left to requests.
        """
        if self._closed or not self.opens_ahead:
            return
        room = self.max * 3 // 4 - self._open
        for _ in range(min(count - len(self._idle), room, _AHEAD_CAP)):
            self._ahead.add(self._opening(_StandBy(), timeout_s))

    def close(self) -> None:
        """Close the idle connections. Those in use close at the end of their exchange."""
        self._closed = True
        for connection in list(self._idle):
            connection.close()

    def _now_idle(self, connection: UpstreamConnection) -> None:
        if self._closed:
            connection.close()
            return
        self._idle[connection] = None

    def _now_closed(self, connection: UpstreamConnection) -> None:
        self._open -= 1
        self._idle.pop(connection, None)


class _StandBy:
    """The receiver of a connection that is opened ahead: makes it idle."""

    def opened(self, connection: UpstreamConnection) -> None:
        connection.stand_by()

    def not_opened(self, error: Exception) -> None:
        pass  # a request will find out, and report it
