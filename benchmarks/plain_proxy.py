"""Reference peer: a simple streaming proxy made of aiohttp's server and aiohttp's client.

python -m benchmarks.plain_proxy LISTEN_PORT UPSTREAM_PORT
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse
_DROPPED = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


async def forward(request: web.Request) -> web.StreamResponse:
    """Forward one request, and return its response chunk by chunk as it arrives."""
    session = request.app[_SESSION]
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await talk(request, session)
    body = await request.read()
    headers = {k: v for k, v in request.headers.items() if k.lower() not in _DROPPED}
    async with session.request(
        request.method, request.path_qs, data=body, headers=headers, allow_redirects=False
    ) as answer:
        passed = {k: v for k, v in answer.headers.items() if k.lower() not in _DROPPED}
        if answer.content_length is not None:
            return web.Response(status=answer.status, headers=passed, body=await answer.read())
        response = web.StreamResponse(status=answer.status, headers=passed)
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def talk(request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
    """Forward WebSocket messages in both directions."""
    client = web.WebSocketResponse(autoping=True)
    async with session.ws_connect(request.path_qs) as upstream:
        await client.prepare(request)
        tasks = [
            asyncio.create_task(pump(client, upstream)),
            asyncio.create_task(pump(upstream, client)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await client.close()
    return client


async def pump(source: _Socket, target: _Socket) -> None:
    """Forward messages in one direction until the source closes."""
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)


_SESSION = web.AppKey("session", aiohttp.ClientSession)


def main() -> None:
    """Serve until the process is ended."""
    port, upstream = int(sys.argv[1]), int(sys.argv[2])
    application = web.Application(client_max_size=16 * 2**20)
    application.router.add_route("*", "/{path:.*}", forward)

    async def session(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{upstream}",
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        ) as made:
            app[_SESSION] = made
            yield

    application.cleanup_ctx.append(session)
    web.run_app(
        application,
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
