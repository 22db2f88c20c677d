"""Plug-in middleware that sends the response itself, and waits for its end."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler


@web.middleware
async def send(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send the response before it is returned."""
    response = await handler(request)
    await response.prepare(request)
    await response.write_eof()
    return response
