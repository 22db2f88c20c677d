"""Opening of one connection to an upstream, within a time limit, for whoever takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Protocol

from gateway.errors import UpstreamConnectFailed, UpstreamConnectTimeout
from gateway.upstream.connection import ConnectionState, UpstreamConnection
from gateway.upstream.dialer import Dialer


class ConnectionTaker(Protocol):
    """The receiver of a new connection. Exactly one method is called, once, by the event loop,
    unless the opening is cancelled before.
    """

    def opened(self, connection: UpstreamConnection) -> None:
        """Take the connection."""

    def not_opened(self, error: Exception) -> None:
        """Take the error, UpstreamConnectFailed or UpstreamConnectTimeout. Another one is a fault
        of the gateway.
        """


class FutureTaker:
    """A receiver for coroutines: `await` it for the connection, or for the error.

    A cancelled coroutine has to call `leave`. It runs one turn of the event loop after the
    cancellation, and the connection may be open since one turn before it.
    """

    __slots__ = ("_result",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._result: asyncio.Future[UpstreamConnection] = loop.create_future()

    def __await__(self) -> Generator[None, None, UpstreamConnection]:
        return self._result.__await__()

    def opened(self, connection: UpstreamConnection) -> None:
        if self._result.cancelled():
            connection.close()
        else:
            self._result.set_result(connection)

    def not_opened(self, error: Exception) -> None:
        if not self._result.cancelled():
            self._result.set_exception(error)

    def leave(self, opening: ConnectionOpening) -> None:
        """Give up: the coroutine does not take the connection."""
        opening.cancel()
        result = self._result
        if result.done() and not result.cancelled() and result.exception() is None:
            result.result().close()


class ConnectionOpening:
    """A connection that is being opened."""

    __slots__ = ("_connection", "_dialer", "_ended", "_taker", "_task", "_timer", "timeout_s")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: UpstreamConnection,
        dialer: Dialer,
        timeout_s: float,
        taker: ConnectionTaker,
        ended: Callable[[ConnectionOpening, bool], None],
    ) -> None:
        """`ended` is called first, with True if the connection is open."""
        self._connection = connection
        self._dialer = dialer
        self.timeout_s = timeout_s
        self._taker: ConnectionTaker | None = taker
        """Receiver of the result; None once it has it."""
        self._ended = ended
        self._timer = loop.call_later(timeout_s, self._late)
        self._task = loop.create_task(dialer.dial(loop, connection))
        self._task.add_done_callback(self._dialed)

    def cancel(self) -> None:
        """Give up: nobody waits for the connection."""
        if self._taker is not None:
            self._end(None)

    def _late(self) -> None:
        self._dialer.late(self._connection)
        url = self._dialer.address.url
        self._end(UpstreamConnectTimeout(f"{url}: {self.timeout_s} s"))

    def _dialed(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return  # by `_end`, or because the event loop ends
        taker, connection, error = self._taker, self._connection, task.exception()
        if taker is None:
            return
        if error is None and connection.state is not ConnectionState.CLOSED:
            self._taker = None
            self._timer.cancel()
            self._ended(self, True)
            taker.opened(connection)
            return
        url = self._dialer.address.url
        if error is None:
            # In the same turn of the event loop as it was opened.
            failure: Exception = closed_at_once(connection, url)
        elif isinstance(error, OSError):
            failure = UpstreamConnectFailed(f"{url}: {error}")
            failure.__cause__ = error
        else:
            assert isinstance(error, Exception)
            failure = error
        self._end(failure)

    def _end(self, error: Exception | None) -> None:
        """End without a connection."""
        taker, self._taker = self._taker, None
        assert taker is not None
        self._timer.cancel()
        self._task.cancel()
        self._connection.close()
        self._ended(self, False)
        if error is not None:
            taker.not_opened(error)


def closed_at_once(connection: UpstreamConnection, url: str) -> UpstreamConnectFailed:
    """Return the error of a connection that was opened, and closed before a request was sent."""
    why = "sent data before a request" if connection.spoke_first else "closed at once"
    return UpstreamConnectFailed(f"{url}: {why}")
