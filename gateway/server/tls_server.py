"""Acceptor of TLS connections: it accepts sockets itself, before their handshakes.

asyncio's server would begin every handshake without a count, and close a client that speaks plain
HTTP without a word. Here a handshake counts as a connection, has a time limit, and begins only with
a client that speaks TLS.
"""

from __future__ import annotations

import asyncio
import errno
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

_BURST = 64
"""Maximum number of connections accepted in one turn of the event loop."""
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 1.0
"""Pause after the process ran out of files."""
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


class TlsServer:
    """Acceptor of one listening socket."""

    def __init__(
        self,
        listening: socket.socket,
        clients: TlsClients,
        context: Callable[[], ssl.SSLContext],
        handshake_s: float,
    ) -> None:
        """`context` returns the TLS context for new connections."""
        self._listening = listening
        self._clients = clients
        self._context = context
        self._handshake_s = handshake_s
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._logged_at = float("-inf")
        self._plain = 0
        """Clients that spoke plain HTTP since the last log line."""

    def start(self, backlog: int) -> None:
        """Accept connections from now on."""
        self._listening.setblocking(False)
        self._listening.listen(backlog)
        self._resume()

    def close(self) -> None:
        """Stop accepting, and give up the handshakes under way."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()
        for task in self._tasks:
            task.cancel()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_BURST):
            try:
                client, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                if exc.errno not in _NO_RESOURCES:
                    raise
                self._loop.remove_reader(self._listening.fileno())
                self._pause = self._loop.call_later(_PAUSE_S, self._resume)
                return
            if self._clients.is_full:
                self._clients.refusals[Unavailable(code="too_many_connections").code] += 1
                client.close()
                continue
            client.setblocking(False)
            if client.family in (socket.AF_INET, socket.AF_INET6):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._clients.handshakes += 1
            task = self._loop.create_task(self._begin(client))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._clients.handshakes -= 1

    async def _begin(self, client: socket.socket) -> None:
        """Wait for the first byte, and hand the connection over once its handshake is done."""
        taken = False
        try:
            async with asyncio.timeout(self._handshake_s):
                first = await self._first_byte(client)
            if first.isalpha():  # TLS begins with the byte 22 (RFC 8446 section 5.1)
                self._refuse_plain(client)
            elif first:
                taken = True  # the loop closes the socket if the handshake fails
                await self._loop.connect_accepted_socket(
                    self._clients,
                    client,
                    ssl=self._context(),
                    ssl_handshake_timeout=self._handshake_s,
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
