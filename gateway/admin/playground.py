"""The playground's way to the gateway: what its page asks is asked of the public listener.

The page is of the admin listener's origin, and the API is of another. Passing requests on needs no
CORS on the routes, and shows what any client would see: the same door, the same limits. The
operator's own cookie and token stay here.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

_SENT = (
    "Accept",
    "Anthropic-Version",
    "Authorization",
    "Content-Type",
    "Last-Event-ID",
    "X-Demo-Fault",
    "X-On-Disconnect",
)
"""Request headers that are passed on."""
_DROPPED = frozenset(
    (
        "connection",
        "content-length",
        "content-security-policy",
        "date",
        "keep-alive",
        "set-cookie",
        "transfer-encoding",
    )
)
"""Response headers that are not: of the connection, or what a page of ours must not be given."""
_LOOK_S = 0.1
PASSED_ON = "X-From-Gateway"
"""Tells the page whose answer it is: the gateway's, or the admin listener's own."""


class Playground:
    """Passes requests on to one gateway."""

    def __init__(self, url: str) -> None:
        """`url` is the public listener's, without a slash at the end."""
        self._url = url
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=5),
        )

    def routes(self) -> list[web.RouteDef]:
        """Where it is."""
        return [web.route("*", "/play/api/{path:.*}", self.serve)]

    async def close(self) -> None:
        """Let go of its connections."""
        await self._session.close()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """The gateway's answer, as it comes. When the page leaves, so does its client."""
        target = request.raw_path.removeprefix("/play/api")
        headers = {name: request.headers[name] for name in _SENT if name in request.headers}
        headers["Accept-Encoding"] = "identity"
        body = await request.read()
        me = asyncio.current_task()
        assert me is not None
        watching = asyncio.create_task(_cancel_when_gone(request, me))
        try:
            async with self._session.request(
                request.method,
                self._url + target,
                headers=headers,
                data=body or None,
                allow_redirects=False,
            ) as answer:
                return await _pass_on(request, answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise web.HTTPBadGateway(reason=f"the gateway does not answer at {self._url}") from exc
        finally:
            watching.cancel()


async def _pass_on(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in answer.headers.items():
        if name.lower() not in _DROPPED:
            response.headers.add(name, value)
    response.headers[PASSED_ON] = "1"
    await response.prepare(request)
    try:
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
    except ConnectionResetError:
        pass  # the page has left
    except aiohttp.ClientError:
        # The gateway cut it off, so that it cannot be taken for a complete answer; nor can this.
        if request.transport is not None:
            request.transport.close()
    return response


async def _cancel_when_gone(request: web.Request, serving: asyncio.Task[object]) -> None:
    """A page that leaves while nothing is sent would go unnoticed until something is."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
    serving.cancel()
