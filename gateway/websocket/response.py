"""WebSocket response: status 101, then the session in place of a body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from multidict import CIMultiDict

from gateway.client_connection import ClientConnection
from gateway.client_response import ClientResponse
from gateway.exchange import Exchange
from gateway.http.headers import checked_lines
from gateway.request import Request
from gateway.response_head import http_head
from gateway.websocket.session import WebSocketSession

_WRITE_BUFFER_BYTES = 32 * 1024
"""Bytes that may wait for a slow client before reading from its upstream pauses."""


class WebSocketResponse(ClientResponse):
    """Response whose body is the session. To policies it is an ordinary response."""

    def __init__(
        self,
        headers: CIMultiDict[str],
        exchange: Exchange,
        begin: Callable[[ClientConnection], WebSocketSession],
    ) -> None:
        """Create the response. `begin` creates the session for the client's connection."""
        super().__init__(status=101, headers=headers)
        self._exchange = exchange
        self._make_session = begin

    def start(self, request: Request) -> None:
        """Switch protocols and start the session.

        Raise ConnectionResetError if the client has left.
        """
        client = self._begin(request)
        transport = client.transport
        assert transport is not None
        fields = checked_lines(
            (name, value) for name, value in self.headers.items() if name != "Content-Type"
        )
        # A message may take several writes: the buffer lets them leave together.
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        session = self._make_session(client)
        self._exchange.first_byte_at = time.perf_counter()
        transport.write(http_head(101, "Switching Protocols", fields, True))
        session.start()
        client.work(self._run(session))

    async def _run(self, session: WebSocketSession) -> None:
        """Wait for the end of the session."""
        try:
            await session.run()
        except asyncio.CancelledError:
            session.client_left()
            raise
        finally:
            session.detach()
        self._complete()
