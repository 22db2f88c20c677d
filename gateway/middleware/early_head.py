"""Middleware that prevents silence in event streams: it opens the stream early if the request has
to wait.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable

from aiohttp.hdrs import CONTENT_ENCODING

from gateway.dialects import Dialect
from gateway.errors import RequestError
from gateway.heartbeat import Heartbeats
from gateway.json_body import ALWAYS_LIGHT_BYTES
from gateway.proxy.early_head import may_ask, open_if_silent
from gateway.request import Request
from gateway.request_body.reader import BodyReader

_LONGEST_READ_BYTES = 1024 * 1024
"""Largest body that is read only to find out whether it asks for a stream."""


class Early:
    """Policy that starts an `EarlyHead`.

    It runs after everything that may refuse a request because of its caller, since such a refusal
    always has its own status; and before everything that may wait.
    """

    def __init__(
        self,
        dialect: Dialect,
        heartbeats: Heartbeats,
        preface: bytes,
        *,
        reader: BodyReader,
    ) -> None:
        """Open a stream after one heartbeat interval of silence. `preface` is sent first to a
        client that `heeds_retry`.
        """
        self._dialect = dialect
        self._heartbeats = heartbeats
        self._preface = preface
        self._reader = reader

    def on_request(self, request: Request) -> Awaitable[None] | None:
        """Start the `EarlyHead`. Raise BodyTooLarge, RequestTimeout or RequestError."""
        body = request.exchange.body
        if body is None:
            body = request.received
        if body is None and request.body_exists:
            body = self._reader.readable(request)
            unread = body is None or len(body) > ALWAYS_LIGHT_BYTES
            if unread and _worth_reading(request):
                return self._read(request)
        asks = may_ask(request, body)
        if asks is not False:
            open_if_silent(request, asks, self._dialect, self._heartbeats, self._preface)
        return None

    async def _read(self, request: Request) -> None:
        body = await self._reader.whole(request)
        # No other check requires valid JSON on such a route.
        with contextlib.suppress(RequestError):
            await self._reader.parsed(request, body)
        asks = may_ask(request, body)
        open_if_silent(request, asks, self._dialect, self._heartbeats, self._preface)


def _worth_reading(request: Request) -> bool:
    """Tell whether a body that has not arrived yet may ask for a stream and will arrive soon: nginx
    sends it in a second packet.
    """
    return (
        0 < (request.content_length or 0) <= _LONGEST_READ_BYTES
        and request.headers.get("Content-Type", "").lower().startswith("application/json")
        and CONTENT_ENCODING not in request.headers
    )
