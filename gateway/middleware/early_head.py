"""From here on, whoever asked for an event stream is not left in silence."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable

from aiohttp import web
from aiohttp.hdrs import CONTENT_ENCODING

from gateway.dialects import Dialect
from gateway.errors import RequestError
from gateway.exchange import GatewayRequest
from gateway.proxy.body import BodyReader
from gateway.proxy.early_head import open_if_silent
from gateway.proxy.heartbeat import Heartbeats
from gateway.proxy.json_body import ALWAYS_LIGHT_BYTES
from gateway.routing import Handler

_LONGEST_READ_BYTES = 1024 * 1024
"""A longer body is not waited for only to see whether it asks for a stream."""


class Early:
    """Stands behind what may refuse a request for the caller's sake, which is always told with a
    status, and before where it may wait.
    """

    def __init__(
        self,
        dialect: Dialect,
        heartbeats: Heartbeats,
        preface: bytes,
        *,
        reader: BodyReader,
    ) -> None:
        """After as much silence as `heartbeats` break a stream is opened, with `preface` for a
        client that `heeds_retry`.
        """
        self._dialect = dialect
        self._heartbeats = heartbeats
        self._preface = preface
        self._reader = reader

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Raise BodyTooLarge, RequestTimeout or RequestError."""
        body = request.exchange.body
        if body is None and request.body_exists:
            body = self._reader.readable(request)
            unread = body is None or len(body) > ALWAYS_LIGHT_BYTES
            if unread and _worth_reading(request):
                return self._read(request, handler)
        open_if_silent(request, body, self._dialect, self._heartbeats, self._preface)
        return handler(request)

    async def _read(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        body = await self._reader.whole(request)
        with contextlib.suppress(RequestError):  # whose business it is where nobody else asks
            await self._reader.parsed(request, body)
        open_if_silent(request, body, self._dialect, self._heartbeats, self._preface)
        return await handler(request)


def _worth_reading(request: GatewayRequest) -> bool:
    """Whether a body that is still to come could ask for a stream, and comes soon: nginx sends it
    in a second packet.
    """
    return (
        0 < (request.content_length or 0) <= _LONGEST_READ_BYTES
        and request.headers.get("Content-Type", "").lower().startswith("application/json")
        and CONTENT_ENCODING not in request.headers
    )
