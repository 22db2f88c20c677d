"""WebSocket response: status 101, then the session in place of a body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from gateway.exchange import ClientConnection, Exchange
from gateway.headers import checked_lines
from gateway.websocket.session import Session

_WRITE_BUFFER_BYTES = 32 * 1024
"""Bytes that may wait for a slow client before reading from its upstream pauses."""


class WebSocketResponse(web.StreamResponse):
    """Response whose body is the session. To middlewares it is an ordinary response."""

    def __init__(
        self,
        headers: CIMultiDict[str],
        exchange: Exchange,
        begin: Callable[[ClientConnection], Session],
    ) -> None:
        """Create the response. `begin` creates the session for the client's connection."""
        super().__init__(status=101, headers=headers)
        self._exchange = exchange
        self._begin = begin
        self._session: Session | None = None

    @property
    def prepared(self) -> bool:
        return self._session is not None

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Switch protocols and start the session.

        Raise ConnectionResetError if the client has left.
        """
        if self._session is not None:
            return None
        client = cast(ClientConnection, request.protocol)
        transport = client.transport
        if transport is None:
            raise ConnectionResetError("the client has left")
        head = checked_lines(
            (name, value) for name, value in self.headers.items() if name != "Content-Type"
        )
        # A message may take several writes: the buffer lets them leave together.
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
