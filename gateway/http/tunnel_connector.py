"""Connector of aiohttp's client whose connections lead through a proxy."""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp_socks import ProxyConnector

from gateway.aiohttp_adaptor import client_protocol


class TunnelConnector(ProxyConnector):
    """Connector that speaks through tunnels of the gateway's own, as its backends' pools do."""

    def __init__(
        self,
        open_: Callable[[str, int], Awaitable[socket.socket]],
        limit: int,
        context: tls.SSLContext | None,
    ) -> None:
        """`open_` returns a socket that is connected to a host, or raises OSError."""
        super().__init__("", 0, limit=limit, ssl=True if context is None else context)
        self._open = open_

    async def _connect_via_proxy(
        self,
        host: str,
        port: int,
        ssl: tls.SSLContext | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- the method of the base class
    ) -> tuple[asyncio.Transport, Any]:
        async with asyncio.timeout(timeout):
            tunnel = await self._open(host, port)
            try:
                loop = asyncio.get_running_loop()
                return await loop.create_connection(
                    lambda: client_protocol(self),
                    sock=tunnel,
                    ssl=ssl,
                    server_hostname=None if ssl is None else host,
                )
            except BaseException:
                tunnel.close()
                raise
