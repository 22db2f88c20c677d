"""Plug-in that answers WebSocket clients itself, without a backend."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.client_connection import ClientConnection
from gateway.errors import Unavailable
from gateway.middleware.plugin import PluginRequest
from gateway.websocket.client_socket import ClientSocket
from gateway.websocket.handshake import answer_of_ours, handshake_of
from gateway.websocket.response import WebSocketResponse
from gateway.websocket.watch import SessionOptions

MIB = 1024 * 1024
PING_S: list[float] = []
"""Interval of pings to the client; empty for no pings."""
RECEIVED: list[int] = []
"""Sizes of the received messages."""
ENDED = asyncio.Event()
"""Set when the coroutine `converse` has ended, for whatever reason."""


async def converse(socket: ClientSocket) -> None:
    """Do what the client's messages say."""
    try:
        while True:
            said = await socket.receive()
            RECEIVED.append(len(said))
            if said == b"fail":
                raise Unavailable
            if said == b"done":
                return
            if said == b"think":
                await asyncio.Event().wait()
            if said == b"flood":
                for _ in range(64):
                    await socket.send(bytes(MIB), opcode=2)
                    RECEIVED.append(-1)
            await socket.send(said)
    finally:
        ENDED.set()


@web.middleware
async def talk(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware that answers WebSocket handshakes, and passes other requests on."""
    assert isinstance(request, PluginRequest)
    exchange = request.exchange
    session = exchange.session
    if session is None:
        return await handler(request)
    handshake = handshake_of(session)
    options = SessionOptions(MIB, idle_s=60.0, ping_s=PING_S[0] if PING_S else None, messages=None)

    def begin(client: ClientConnection) -> ClientSocket:
        return ClientSocket(
            exchange, client, options, converse, deflate=handshake.deflate, validity=None
        )

    return WebSocketResponse(answer_of_ours(handshake), exchange, begin)
