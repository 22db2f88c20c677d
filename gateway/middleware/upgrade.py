"""WebSocket upgrades, validated before authentication, so that no ticket is spent on an invalid
one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection

from aiohttp import web

from gateway.exchange import GatewayRequest
from gateway.routing import Handler
from gateway.websocket.handshake import read_handshake


class Upgrade:
    """Middleware of one route. A request that is no upgrade passes unchanged."""

    def __init__(self, origins: Collection[str], *, deflate: bool) -> None:
        """`origins` are the origins whose pages may connect from a browser; if empty, only pages of
        the host itself.
        """
        self._origins = frozenset(origins)
        self._deflate = deflate

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Read the handshake of an upgrade. Raise RequestError."""
        if request._message.upgrade:
            request.exchange.handshake = read_handshake(
                request.headers, origins=self._origins, deflate=self._deflate
            )
        return handler(request)
