"""A plug-in middleware that changes what comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web


@web.middleware
async def stamp(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Add a header."""
    response = await handler(request)
    response.headers["X-Stamp"] = "1"
    response.headers["Content-Type"] = "text/event-stream; charset=utf-8"
    return response
