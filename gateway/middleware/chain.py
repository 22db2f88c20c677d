"""Composition of a route's middleware chain, once, when the configuration is loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from types import FunctionType
from typing import Protocol

from aiohttp import web

from gateway.exchange import GatewayRequest
from gateway.routing import Handler


class Middleware(Protocol):
    """aiohttp's middleware signature: `async (request, handler) -> response`.

    A middleware that does nothing after the handler returns the handler's awaitable and is no
    coroutine: each coroutine costs a microsecond.
    """

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Answer the request, or pass it to `handler` and return the response."""


def compose(middlewares: Sequence[Middleware], handler: Handler) -> Handler:
    """Return one handler that runs `middlewares` in order, then `handler`."""
    for middleware in reversed(middlewares):
        # Use the bound method of an object: calling the object itself looks it up every time.
        bound = middleware if isinstance(middleware, FunctionType) else middleware.__call__
        handler = _before(bound, handler)
    return handler


def _before(middleware: Middleware, handler: Handler) -> Handler:
    """Return a handler that calls `middleware` with `handler`. A closure, because a `partial`
    builds a dict and a tuple for each call.
    """

    def run(request: GatewayRequest) -> Awaitable[web.StreamResponse]:
        return middleware(request, handler)

    return run
