"""Public listener: accepts and counts connections, and hands their requests to a runtime."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

from structlog.typing import FilteringBoundLogger

from gateway.aiohttp_adaptor import HeadCaps
from gateway.app import Runtime
from gateway.config import models
from gateway.errors import Cancelled, Draining
from gateway.exchange import Exchange
from gateway.facts import DelegatedIdentity
from gateway.known_head import KnownHeads
from gateway.load.backlog import Backlog
from gateway.load.turn_writes import TurnWrites
from gateway.server.branch import BranchConnection
from gateway.server.connection import Connection
from gateway.server.turns import Turns

FAREWELL_S = 0.5
"""Seconds for the final errors of a drain to be sent."""


class Listener:
    """Client connections of a process. `runtime` serves the requests; a reload replaces it."""

    def __init__(
        self,
        runtime: Runtime,
        options: models.ServerSettings,
        logger: FilteringBoundLogger,
        writes: TurnWrites,
    ) -> None:
        self.loop = loop = asyncio.get_running_loop()
        self.runtime = runtime
        self.options = options
        self.head_caps = HeadCaps(options.header_bytes, options.header_count)
        """Caps on the heads of requests, for the parser."""
        # A setting of a model is found by a slow path.
        self.keepalive_s = options.keepalive
        """Seconds for which a connection may be idle."""
        self.header_bytes = options.header_bytes
        """Cap on the size of a head."""
        self.known_heads = KnownHeads(loop.call_later)
        self.logger = logger
        self.overload = runtime.overload
        self.writes = writes
        """Writes that wait for the end of the turn."""
        self.turns = Turns(loop)
        """Pacing of requests that arrive at the same time."""
        self.streams = 0
        """Number of response bodies being sent."""
        self.backlog = Backlog(loop)
        """Work of connections for later turns of the event loop."""
        self.draining = False
        """True once no more connections are accepted."""
        self.cutting = False
        """True once exchanges are ended before they are complete."""
        self.refusals: Counter[str] = Counter()
        """Number of refusals before a request began, by error code."""
        self.handshakes = 0
        """Number of TLS handshakes under way."""
        self._connections: set[Connection] = set()
        self._kept: set[Exchange] = set()
        self._all_ended: asyncio.Future[None] | None = None

    def replace(self, runtime: Runtime) -> None:
        """Serve new requests with another runtime."""
        before, self.runtime = self.runtime, runtime
        if runtime.proxies.networks != before.proxies.networks:
            for connection in self._connections:
                connection.trust(runtime.proxies)
        self.options = runtime.config.server
        self.head_caps = HeadCaps(self.options.header_bytes, self.options.header_count)
        self.keepalive_s = self.options.keepalive
        self.header_bytes = self.options.header_bytes
        self.known_heads.forget()

    def __call__(self) -> Connection:
        """Return a new connection. asyncio calls this as its protocol factory."""
        return Connection(self)

    def branch(self, delegated: DelegatedIdentity) -> BranchConnection:
        """Return a new connection for a request of a session."""
        return BranchConnection(self, delegated)

    @property
    def open_exchanges(self) -> int:
        """Number of requests in flight, streams included."""
        return self.overload.requests

    @property
    def connections(self) -> Iterator[Connection]:
        """Open client connections."""
        yield from self._connections

    @property
    def open_connections(self) -> int:
        """Number of open client connections."""
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        """True if no connection more is admitted, those in a handshake included."""
        return len(self._connections) + self.handshakes >= self.options.max_connections

    def admits(self, connection: Connection) -> bool:
        """Count a connection in. Return False, without counting it, if there are too many."""
        if len(self._connections) >= self.options.max_connections:
            return False
        self._connections.add(connection)
        return True

    def lost(self, connection: Connection) -> None:
        """Count a closed connection out."""
        self._connections.discard(connection)
        self._look()

    def kept(self, exchange: Exchange) -> None:
        """Track an exchange that continues without its client."""
        self._kept.add(exchange)
        exchange.at_end(self._kept.discard)

    def _look(self) -> None:
        """Wake the drain if no exchange is in flight any more."""
        waiter = self._all_ended
        if waiter is not None and not waiter.done() and self._is_empty():
            waiter.set_result(None)

    def _is_empty(self) -> bool:
        return not self.open_exchanges and not any(c.awaited for c in self._connections)

    @property
    def exchanges(self) -> Iterator[Exchange]:
        """Exchanges in flight, with or without a client."""
        yield from (c.exchange for c in self._connections if c.exchange is not None)
        yield from self._kept

    def cancel(self, request_id: str) -> bool:
        """End a request on behalf of an operator. Return False if it is not in flight here."""
        for connection in self._connections:
            exchange = connection.exchange
            if exchange is not None and exchange.request_id == request_id:
                connection.end(Cancelled())
                return True
        for exchange in self._kept:
            if exchange.request_id == request_id and exchange.detached_owner is not None:
                exchange.detached_owner.fail(Cancelled())
                return True
        return False

    async def drain(self, grace_s: float) -> None:
        """Close idle connections, and let exchanges end within `grace_s` seconds. Then end the
        others with an error that their clients can read, and cut the connections that remain.
        """
        self.draining = True
        for connection in list(self._connections):
            connection.drain()
        self.runtime.channels.drain()
        self.runtime.shadows.drain()
        if grace_s > 0 and not await self._empty(grace_s):
            self.logger.warning("drain_expired", open_exchanges=self.open_exchanges)
        self.cutting = True
        for connection in list(self._connections):
            connection.end(Draining())
        for exchange in list(self._kept):
            if exchange.detached_owner is not None:
                exchange.detached_owner.fail(Draining())
        await self._empty(FAREWELL_S)
        for connection in list(self._connections):
            connection.cut() if self.open_exchanges else connection.drain()
        # Closing a connection takes several callbacks, each scheduled by the one before: let the
        # loop run them.
        for _ in range(5):
            await asyncio.sleep(0)

    async def _empty(self, longest_s: float) -> bool:
        """Wait until no exchange is in flight or about to begin. Return False if that takes longer
        than `longest_s`.
        """
        self.overload.on_idle = self._look
        try:
            async with asyncio.timeout(longest_s):
                # Another exchange may begin before this coroutine resumes.
                while not self._is_empty():
                    self._all_ended = asyncio.get_running_loop().create_future()
                    await self._all_ended
        except TimeoutError:
            return False
        finally:
            self.overload.on_idle = None
        return True
