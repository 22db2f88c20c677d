"""From here on, whoever asked for an event stream is not left in silence."""

from __future__ import annotations

from collections.abc import Awaitable

from aiohttp import web

from gateway.dialects import Dialect
from gateway.exchange import GatewayRequest
from gateway.proxy import body as bodies
from gateway.proxy.early_head import open_if_silent
from gateway.proxy.heartbeat import Heartbeats
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
        body_cap_bytes: int,
        body_silence_s: float,
    ) -> None:
        """After as much silence as `heartbeats` break a stream is opened, with `preface` for a
        client that `heeds_retry`.
        """
        self._dialect = dialect
        self._heartbeats = heartbeats
        self._preface = preface
        self._body_cap_bytes = body_cap_bytes
        self._body_silence_s = body_silence_s

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Raise BodyTooLarge, RequestTimeout or RequestError."""
        body = request.exchange.body
        if body is None and request.body_exists:
            body = bodies.here(request, self._body_cap_bytes)
            if body is None and _worth_reading(request):
                return self._read(request, handler)
        open_if_silent(request, body, self._dialect, self._heartbeats, self._preface)
        return handler(request)

    async def _read(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        body = await bodies.whole(request, self._body_cap_bytes, self._body_silence_s)
        open_if_silent(request, body, self._dialect, self._heartbeats, self._preface)
        return await handler(request)


def _worth_reading(request: GatewayRequest) -> bool:
    """Whether a body that is still to come could ask for a stream, and comes soon: nginx sends it
    in a second packet.
    """
    return 0 < (request.content_length or 0) <= _LONGEST_READ_BYTES and (
        request.headers.get("Content-Type", "").lower().startswith("application/json")
    )
