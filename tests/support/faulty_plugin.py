"""A plug-in middleware with a bug."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web


@web.middleware
async def fail(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Fail as code fails that nobody has tried."""
    raise RuntimeError(f"canary7f3a {request.path}")
