"""Proxy from the playground's WebSocket to a bridge of the public listener.

A page's WebSocket cannot set headers. So its first message is the value of the Authorization
header. It is not forwarded as a message, but sent in the handshake with the gateway.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import (
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    WSCloseCode,
    WSMsgType,
    WSServerHandshakeError,
    web,
)
from yarl import URL

from gateway.admin.own_listener import own_listener

_MESSAGE_BYTES = 16 * 1024 * 1024
_FIRST_S = 10.0
_PING_S = 20.0
_NEVER_SENT = (1005, 1006)
"""Codes of a close without a code, or without a close frame. They are never sent (RFC 6455 section
7.4.1).
"""

_Socket = ClientWebSocketResponse[bool] | web.WebSocketResponse[bool]


class PlaygroundSocket:
    """Proxy that forwards WebSockets to one gateway."""

    def __init__(self, url: str) -> None:
        """Create the proxy. `url` is that of the public listener."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._scheme = parts.scheme

    def routes(self) -> list[web.RouteDef]:
        """Return the route of the proxy."""
        return [web.get("/play/socket", self.serve)]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Forward messages until one side closes; then close the other side with the same code.
        Raise HTTPBadRequest.
        """
        path = request.query.get("path", "")
        if not path.startswith("/"):
            raise web.HTTPBadRequest(reason="the query has to name the bridge: ?path=/...")
        page = web.WebSocketResponse(heartbeat=_PING_S, max_msg_size=_MESSAGE_BYTES)
        await page.prepare(request)
        url = URL.build(scheme=self._scheme, host=self._host, port=self._port, path=path)
        try:
            first = await page.receive(timeout=_FIRST_S)
            if first.type is not WSMsgType.TEXT:
                return page
            headers = {"Authorization": first.data} if first.data else {}
            async with (
                ClientSession() as session,
                session.ws_connect(
                    url, headers=headers, max_msg_size=0, ssl=own_listener()
                ) as gateway,
            ):
                await _pass_on(page, gateway)
        except WSServerHandshakeError as exc:
            await _refuse(page, exc.status)
        except TimeoutError:
            pass  # the page sent no first message in time
        except (ClientError, ValueError):
            await _refuse(page, HTTPStatus.BAD_GATEWAY)
        finally:
            await page.close()
        return page


async def _refuse(page: web.WebSocketResponse, status: int) -> None:
    reason = HTTPStatus(status).phrase
    error = {"message": f"The gateway did not open the socket: {reason}."}
    await page.send_json({"type": "error", "status": status, "error": error})


async def _pass_on(page: web.WebSocketResponse, gateway: ClientWebSocketResponse) -> None:
    both = [
        asyncio.create_task(_one_way(page, gateway)),
        asyncio.create_task(_one_way(gateway, page)),
    ]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _one_way(source: _Socket, sink: _Socket) -> None:
    async for message in source:
        if message.type is WSMsgType.TEXT:
            await sink.send_str(message.data)
    code = source.close_code
    if not code or code in _NEVER_SENT:
        code = WSCloseCode.GOING_AWAY
    await sink.close(code=code)
