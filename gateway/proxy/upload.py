"""Upload: sends the body of a request to the upstream while it arrives."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.http.chunks import LAST_CHUNK, chunk
from gateway.request import Request
from gateway.request_body.reader import BodyReader
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.upstream import Upstream


class Sent(Protocol):
    """Attempt that sends the body."""

    sent_at: float
    """Time at which the request had been sent completely, in `time.perf_counter` seconds."""


class Upload:
    """Upload of one body, which can be sent only once. It counts as one of the upstream's uploads
    until it is complete or the exchange ends.
    """

    __slots__ = ("_counted", "_reader", "_request", "_task", "_upstream")

    def __init__(self, request: Request, reader: BodyReader, upstream: Upstream) -> None:
        self._request = request
        self._reader = reader
        self._upstream = upstream
        self._task: asyncio.Task[None] | None = None
        self._counted = True
        upstream.latest.uploads += 1
        request.exchange.at_end(self._end)

    def begin(self, connection: UpstreamConnection, first_byte_s: float, attempt: Sent) -> None:
        """Send the body behind its head. The upload may continue while the response arrives; it
        never outlives the exchange.
        """
        self._task = asyncio.create_task(self._send(connection, first_byte_s, attempt))

    def cancel(self) -> None:
        """Send no more."""
        if self._task is not None:
            self._task.cancel()

    async def _send(
        self, connection: UpstreamConnection, first_byte_s: float, attempt: Sent
    ) -> None:
        request = self._request
        chunked = request.content_length is None
        try:
            async for piece in self._reader.pieces(request):
                connection.send_body(chunk(piece) if chunked else piece)
                await connection.drain()
        except GatewayError as exc:
            connection.fail(exc)
        else:
            if chunked:
                connection.send_body(LAST_CHUNK)
            connection.body_sent(first_byte_s)
            self._end()
            # The time of the upload says nothing about the endpoint.
            attempt.sent_at = time.perf_counter()

    def _end(self, _: Exchange | None = None) -> None:
        if self._counted:
            self._counted = False
            self._upstream.latest.uploads -= 1
