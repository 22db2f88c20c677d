"""Plug-in middleware with a bug."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web


@web.middleware
async def fail(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Raise an unexpected error."""
    raise RuntimeError(f"canary7f3a {request.path}")
