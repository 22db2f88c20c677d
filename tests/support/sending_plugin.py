"""Plug-in middleware that sends responses itself, and waits for their end."""

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


@web.middleware
async def send_and_fail(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send the response, and fail."""
    await send(request, handler)
    raise RuntimeError


@web.middleware
async def send_and_return_another(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send the response, and return a second one."""
    await send(request, handler)
    return web.Response(text="second")


@web.middleware
async def begin_and_fail(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Begin a response of aiohttp's own, and fail."""
    response = web.StreamResponse()
    await response.prepare(request)
    raise RuntimeError
