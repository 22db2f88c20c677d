"""The public listener: accepts connections, counts what is open, hands requests to a runtime."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.app import Runtime
from gateway.backlog import Backlog
from gateway.config import models
from gateway.errors import Cancelled, Draining
from gateway.exchange import Exchange
from gateway.server.connection import Connection
from gateway.server.turns import Turns

_FAREWELL_S = 0.5
"""For the last words of a drain to be written."""


def _connection_options(options: models.Server) -> dict[str, Any]:
    """What aiohttp's protocol is made with."""
    return {
        "loop": asyncio.get_running_loop(),
        "max_line_size": options.header_bytes,
        "max_field_size": options.header_bytes,
        "max_headers": options.header_count,
        "auto_decompress": False,
    }


class Listener:
    """All client connections of a process. `runtime` serves the requests; it may be replaced."""

    def __init__(
        self, runtime: Runtime, options: models.Server, logger: FilteringBoundLogger
    ) -> None:
        self.runtime = runtime
        self.options = options
        self.logger = logger
        self.overload = runtime.overload
        self.turns = Turns(asyncio.get_running_loop())
        """Which requests begin now, of a crowd."""
        self.backlog = Backlog(asyncio.get_running_loop())
        """What connections have left to do."""
        self.draining = False
        """No more connections are accepted."""
        self.cutting = False
        """Connections are being closed before their time."""
        self.refusals: Counter[str] = Counter()
        """Connections refused before there was a request, by the code of the error."""
        self._connections: set[Connection] = set()
        self._kept: set[Exchange] = set()
        self._all_ended: asyncio.Future[None] | None = None
        self._manager = web.Server(self._unused, handler_cancellation=True)
        self._connection_options = _connection_options(options)

    def replace(self, runtime: Runtime) -> None:
        """Serve new requests by another runtime."""
        self.runtime = runtime
        self.options = runtime.config.server
        self._connection_options = _connection_options(self.options)

    @staticmethod
    async def _unused(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("connections call the runtime themselves")

    def __call__(self) -> Connection:
        """A new connection; asyncio's protocol factory."""
        return Connection(self, self._manager, **self._connection_options)

    @property
    def open_exchanges(self) -> int:
        """Requests under way, streams included."""
        return self.overload.requests

    @property
    def open_connections(self) -> int:
        """Client connections that are open."""
        return len(self._connections)

    def admits(self, connection: Connection) -> bool:
        """Count a connection in, unless there are too many."""
        if len(self._connections) >= self.options.max_connections:
            return False
        self._connections.add(connection)
        return True

    def lost(self, connection: Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        self._look()

    def opened(self, exchange: Exchange) -> None:
        """Count an exchange in, until it ends."""
        self.overload.requests += 1
        runtime = self.runtime
        runtime.exchanges += 1
        exchange.at_end(lambda _: self._ended(runtime))

    def kept(self, exchange: Exchange) -> None:
        """Know of one that goes on without its client."""
        self._kept.add(exchange)
        exchange.at_end(self._kept.discard)

    def _ended(self, runtime: Runtime) -> None:
        overload = self.overload
        overload.requests -= 1
        runtime.exchanges -= 1
        if not runtime.exchanges and runtime.retired is not None:
            runtime.retired()
        self._look()

    def _look(self) -> None:
        """Tell whoever waits for it that nothing is under way any more."""
        waiter = self._all_ended
        if waiter is not None and not waiter.done() and self._is_empty():
            waiter.set_result(None)

    def _is_empty(self) -> bool:
        return not self.open_exchanges and not any(c.awaited for c in self._connections)

    @property
    def exchanges(self) -> Iterator[Exchange]:
        """Those under way, with or without a client."""
        yield from (c.exchange for c in self._connections if c.exchange is not None)
        yield from self._kept

    def cancel(self, request_id: str) -> bool:
        """End a request, for an operator. False if it is not under way here."""
        for connection in self._connections:
            exchange = connection.exchange
            if exchange is not None and exchange.request_id == request_id:
                connection.end(Cancelled())
                return True
        for exchange in self._kept:
            if exchange.request_id == request_id and exchange.keeper is not None:
                exchange.keeper.fail(Cancelled())
                return True
        return False

    async def drain(self, grace_s: float) -> None:
        """Close idle connections; let exchanges end within `grace_s`; then end them, so that their
        clients are told; then cut.
        """
        self.draining = True
        for connection in list(self._connections):
            connection.drain()
        if grace_s > 0 and not await self._empty(grace_s):
            self.logger.warning("drain_expired", open_exchanges=self.open_exchanges)
        self.cutting = True
        for connection in list(self._connections):
            connection.end(Draining())
        for exchange in list(self._kept):
            if exchange.keeper is not None:
                exchange.keeper.fail(Draining())
        await self._empty(_FAREWELL_S)
        for connection in list(self._connections):
            connection.cut() if self.open_exchanges else connection.drain()
        # Connections close in their own callbacks; give the loop a turn for each floor of them.
        for _ in range(5):
            await asyncio.sleep(0)

    async def _empty(self, longest_s: float) -> bool:
        """Wait until no exchange is under way or about to begin. False if that takes longer."""
        try:
            async with asyncio.timeout(longest_s):
                # Until this goes on, another one may have begun.
                while not self._is_empty():
                    self._all_ended = asyncio.get_running_loop().create_future()
                    await self._all_ended
        except TimeoutError:
            return False
        return True
