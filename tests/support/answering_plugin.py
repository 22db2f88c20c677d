"""Plug-in that waits for the backend, and then returns a response of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

_ANSWERS = {
    "events": lambda: web.Response(body=b"data: mine\n\n", content_type="text/event-stream"),
    "page": lambda: web.Response(text="mine"),
    "refusal": lambda: web.Response(status=403, text="not you"),
    "shaped": lambda: web.json_response({"error": {"message": "m", "code": "mine"}}, status=409),
}


@web.middleware
async def answer(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Return the response that the request selects with `X-Answer`."""
    await handler(request)
    return _ANSWERS[request.headers["X-Answer"]]()
