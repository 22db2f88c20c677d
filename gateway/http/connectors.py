"""Connectors of aiohttp's client to a host, through a proxy or directly."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import aiohttp

from gateway.http.egress import Proxy

_IDLE_S = 4.0
"""Longest time that a connection is kept for the next request. Many servers close theirs after 5 s,
and a request that crosses the close would fail.
"""


def connector_to(
    url: str, proxy: Proxy | None, *, context: ssl.SSLContext | None = None, limit: int = 100
) -> aiohttp.BaseConnector:
    """Return a connector of aiohttp's client to the host of a URL, for up to `limit` connections at
    once: through the proxy, if there is one and it serves the host. `context` is for TLS with the
    host; None: the system's authorities. Needs a running event loop.
    """
    if proxy is not None and proxy.serves(urlsplit(url).hostname or ""):
        return proxy.connector(limit=limit, context=context)
    return aiohttp.TCPConnector(
        limit=limit, ssl=True if context is None else context, keepalive_timeout=_IDLE_S
    )
