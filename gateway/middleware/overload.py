"""Overload protection: a process that is full refuses new requests before anything is done."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import Overloaded
from gateway.exchange import GatewayRequest
from gateway.overload import Overload
from gateway.routing import Handler


class RefuseOverload:
    """Lets requests through while there is room for them."""

    def __init__(self, overload: Overload) -> None:
        self._overload = overload

    async def __call__(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        """Raise Overloaded."""
        reason = self._overload.reason
        if reason is not None:
            self._overload.refused += 1
            raise Overloaded(reason)
        return await handler(request)
