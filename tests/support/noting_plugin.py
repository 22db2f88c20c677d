"""Plug-in that notes the requests it sees, for tests of what is derived from a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.middleware.plugin import PluginRequest
from gateway.request import Request

NOTED: list[Request] = []


async def note(
    request: PluginRequest, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Note the request, and pass it on."""
    NOTED.append(request.original)
    return await handler(request)
