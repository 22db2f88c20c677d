"""Composing a route's chain, once, when the configuration is loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from types import FunctionType
from typing import Protocol

from aiohttp import web

from gateway.exchange import GatewayRequest
from gateway.routing import Handler


class Middleware(Protocol):
    """aiohttp's middleware signature: `async (request, handler) -> response`.

    One that has nothing to do behind the handler returns what that returns, and is no coroutine:
    each costs a microsecond.
    """

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Answer the request, or pass it to `handler` and its response back."""


def compose(middlewares: Sequence[Middleware], handler: Handler) -> Handler:
    """One handler that runs `middlewares` in order, then `handler`."""
    for middleware in reversed(middlewares):
        # Of an object the bound method: to call the object itself looks that up every time.
        bound = middleware if isinstance(middleware, FunctionType) else middleware.__call__
        handler = _before(bound, handler)
    return handler


def _before(middleware: Middleware, handler: Handler) -> Handler:
    """One handler of two. (A `partial` builds a dict and a tuple for each call; this does not.)"""

    def run(request: GatewayRequest) -> Awaitable[web.StreamResponse]:
        return middleware(request, handler)

    return run
