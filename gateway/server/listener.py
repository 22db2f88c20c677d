"""The public listener: accepts connections, counts what is open, hands requests to a runtime."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.app import Runtime
from gateway.config import models
from gateway.exchange import Exchange
from gateway.server.connection import Connection
from gateway.server.turns import Turns


class Listener:
    """All client connections of a process. `runtime` serves the requests; it may be replaced."""

    def __init__(
        self, runtime: Runtime, options: models.Server, logger: FilteringBoundLogger
    ) -> None:
        self.runtime = runtime
        self.options = options
        self.logger = logger
        self.open_exchanges = 0
        self.turns = Turns(asyncio.get_running_loop())
        """Which requests begin now, of a crowd."""
        self.cutting = False
        """Connections are being closed before their time."""
        self._connections: set[Connection] = set()
        self._all_ended: asyncio.Future[None] | None = None
        self._manager = web.Server(self._unused, handler_cancellation=True)
        self._connection_options: dict[str, Any] = {
            "loop": asyncio.get_running_loop(),
            "max_line_size": options.header_bytes,
            "max_field_size": options.header_bytes,
            "max_headers": options.header_count,
            "auto_decompress": False,
        }

    @staticmethod
    async def _unused(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("connections call the runtime themselves")

    def __call__(self) -> Connection:
        """A new connection; asyncio's protocol factory."""
        return Connection(self, self._manager, **self._connection_options)

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

    def opened(self, exchange: Exchange) -> None:
        """Count an exchange in, until it ends."""
        self.open_exchanges += 1
        exchange.at_end(self._ended)

    def _ended(self, exchange: Exchange) -> None:
        self.open_exchanges -= 1
        if not self.open_exchanges and self._all_ended and not self._all_ended.done():
            self._all_ended.set_result(None)

    async def drain(self, grace_s: float) -> None:
        """Close idle connections; let exchanges end within `grace_s`, then cut them."""
        for connection in list(self._connections):
            connection.drain()
        if self.open_exchanges and grace_s > 0:
            self._all_ended = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(grace_s):
                    await self._all_ended
            except TimeoutError:
                self.logger.warning("drain_expired", open_exchanges=self.open_exchanges)
        self.cutting = True
        for connection in list(self._connections):
            connection.cut() if self.open_exchanges else connection.drain()
        # Connections close in their own callbacks; give the loop a turn for each floor of them.
        for _ in range(5):
            await asyncio.sleep(0)
