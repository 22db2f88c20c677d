"""TLS handshakes of accepted connections.

asyncio's server does not count handshakes, and closes connections of plain HTTP without an answer.
Here a handshake counts as a connection, has a time limit, and begins only with a client that speaks
TLS.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from gateway.errors import PlainHttp, Unavailable
from gateway.middleware.request_id import new_request_id
from gateway.server.refusals import fixed_response

_LOG_EVERY_S = 60.0
_REQUEST_BYTES = 64 * 1024


class TlsClients(Protocol):
    """Listener that the connections belong to."""

    logger: FilteringBoundLogger
    refusals: Counter[str]
    handshakes: int

    @property
    def is_full(self) -> bool:
        """True if no connection more is admitted, those in a handshake included."""

    def __call__(self) -> asyncio.Protocol:
        """Return a new connection."""


class Handshakes:
    """TLS handshakes of one listener."""

    def __init__(
        self, clients: TlsClients, context: Callable[[], ssl.SSLContext], longest_s: float
    ) -> None:
        """`context` returns the TLS context for new connections. A handshake takes `longest_s`
        seconds at most.
        """
        self._clients = clients
        self._context = context
        self._longest_s = longest_s
        self._loop = asyncio.get_running_loop()
        self._logged_at = float("-inf")
        self._plain = 0
        """Clients that spoke plain HTTP since the last log line."""

    async def begin(self, client: socket.socket) -> None:
        """Make an accepted socket a connection of the listener, once its handshake is done."""
        if self._clients.is_full:
            self._clients.refusals[Unavailable(code="too_many_connections").code] += 1
            client.close()
            return
        self._clients.handshakes += 1
        try:
            await self._shake_hands(client)
        finally:
            self._clients.handshakes -= 1

    async def _shake_hands(self, client: socket.socket) -> None:
        taken = False
        client.setblocking(False)
        try:
            async with asyncio.timeout(self._longest_s):
                first = await self._first_byte(client)
            if first.isalpha():  # TLS begins with the byte 22 (RFC 8446 section 5.1)
                self._refuse_plain(client)
            elif first:
                taken = True  # the loop closes the socket if the handshake fails
                await self._loop.connect_accepted_socket(
                    self._clients,
                    client,
                    ssl=self._context(),
                    ssl_handshake_timeout=self._longest_s,
                )
        except (OSError, TimeoutError):
            self._clients.refusals["tls_handshake"] += 1
        finally:
            if not taken:
                client.close()

    async def _first_byte(self, client: socket.socket) -> bytes:
        """Return the first byte, which stays unread; no byte if the client has left."""
        arrived: asyncio.Future[None] = self._loop.create_future()

        def wake() -> None:
            if not arrived.done():
                arrived.set_result(None)

        self._loop.add_reader(client.fileno(), wake)
        try:
            await arrived
        finally:
            self._loop.remove_reader(client.fileno())
        return client.recv(1, socket.MSG_PEEK)

    def _refuse_plain(self, client: socket.socket) -> None:
        error = PlainHttp()
        with suppress(OSError):
            client.recv(_REQUEST_BYTES)  # unread data would turn the close into a reset
            client.send(fixed_response(error, new_request_id()))
            client.shutdown(socket.SHUT_WR)
        self._clients.refusals[error.code] += 1
        self._plain += 1
        now = self._loop.time()
        if now - self._logged_at >= _LOG_EVERY_S:
            self._clients.logger.warning(
                "tls", reason="a client speaks plain HTTP to the TLS listener", clients=self._plain
            )
            self._logged_at, self._plain = now, 0
