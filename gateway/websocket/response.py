"""The response that makes a connection a WebSocket: 101, and then the session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from gateway.exchange import ClientConnection, Exchange
from gateway.headers import checked_lines

_WRITE_BUFFER_BYTES = 32 * 1024
"""What waits for a slow client before its upstream does."""


class Talk(Protocol):
    """A session with a client, whoever the other side is."""

    def start(self) -> None:
        """Take over the connection."""

    async def run(self) -> None:
        """Until it has ended."""

    def client_left(self) -> None:
        """The client's connection is gone."""

    def detach(self) -> None:
        """Let go of the connection."""


class WebSocketResponse(web.StreamResponse):
    """An ordinary response to every middleware, until it is sent; its body is the session."""

    def __init__(
        self,
        headers: CIMultiDict[str],
        exchange: Exchange,
        begin: Callable[[ClientConnection], Talk],
    ) -> None:
        """`begin` makes the session, once there is a connection for it."""
        super().__init__(status=101, headers=headers)
        self._exchange = exchange
        self._begin = begin
        self._session: Talk | None = None

    @property
    def prepared(self) -> bool:
        return self._session is not None

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Switch protocols."""
        if self._session is not None:
            return None
        client = cast(ClientConnection, request.protocol)
        transport = client.transport
        if transport is None:
            raise ConnectionResetError("the client has left")
        head = checked_lines(
            (name, value) for name, value in self.headers.items() if name != "Content-Type"
        )
        # A message may take several writes: let them leave together.
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self._session = session = self._begin(client)
        self._exchange.first_byte_at = time.perf_counter()
        transport.write(b"HTTP/1.1 101 Switching Protocols\r\n" + head + b"\r\n")
        session.start()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Wait for the end of the session."""
        session = self._session
        assert session is not None
        try:
            await session.run()
        except asyncio.CancelledError:
            session.client_left()
            raise
        finally:
            session.detach()
