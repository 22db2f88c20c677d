"""Upgrades to WebSocket: judged before anybody asks who it is, so that no ticket is spent on one
that cannot be."""

from __future__ import annotations

from collections.abc import Awaitable, Collection

from aiohttp import web

from gateway.exchange import GatewayRequest
from gateway.routing import Handler
from gateway.websocket.handshake import read_handshake


class Upgrade:
    """For one route. What is no upgrade passes as it is."""

    def __init__(self, origins: Collection[str], *, deflate: bool) -> None:
        """`origins` may call from a browser; none: only pages of the host itself."""
        self._origins = frozenset(origins)
        self._deflate = deflate

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Raise RequestError."""
        if request._message.upgrade:
            request.exchange.handshake = read_handshake(
                request.headers, origins=self._origins, deflate=self._deflate
            )
        return handler(request)
