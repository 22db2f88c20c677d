"""Composing a route's chain, once, when the configuration is loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiohttp import web

from gateway.exchange import GatewayRequest
from gateway.routing import Handler

Middleware = Callable[[GatewayRequest, Handler], Awaitable[web.StreamResponse]]
"""aiohttp's middleware signature: `async (request, handler) -> response`."""


def compose(middlewares: Sequence[Middleware], handler: Handler) -> Handler:
    """One handler that runs `middlewares` in order, then `handler`."""
    for middleware in reversed(middlewares):
        handler = partial(middleware, handler=handler)
    return handler
