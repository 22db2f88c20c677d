"""Plug-in middleware that changes responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web


@web.middleware
async def stamp(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Add a header, and change the content type."""
    response = await handler(request)
    response.headers["X-Stamp"] = "1"
    response.headers["Content-Type"] = "text/event-stream; charset=utf-8"
    return response
