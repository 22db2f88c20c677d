"""GET requests that the gateway makes at an endpoint by itself: health checks, model lists."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiohttp

from gateway.upstream.endpoint import Endpoint
from gateway.upstream.resolve import resolve_checked


@asynccontextmanager
async def asking(
    endpoint: Endpoint, path: str, fields: Iterable[tuple[str, str]] = ()
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Give the response to a GET of `path`, which includes the endpoint's base. Redirects are not
    followed. `fields` are sent beside Host. It takes as long as the caller lets it.

    Each request has a connection of its own: an endpoint has to accept a new one. Raise
    aiohttp.ClientError or OSError.
    """
    dialer = endpoint.pool.dialer
    address, proxy = dialer.address, dialer.proxy
    connector: aiohttp.BaseConnector | None = None
    host, port = address.host, address.port
    if proxy is None:
        found = await resolve_checked(host, port, dialer.policy)
        host, port = found[0]
    else:
        connector = proxy.connector()
    scheme = "https" if address.tls is not None else "http"
    async with (
        aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as session,
        session.get(
            f"{scheme}://{_in_url(host)}:{port}{path}",
            headers=[("Host", address.authority), *fields],
            ssl=address.tls or False,
            server_hostname=address.server_name,
            allow_redirects=False,
        ) as response,
    ):
        yield response


async def beginning(response: aiohttp.ClientResponse, cap_bytes: int) -> bytes:
    """Return the body, or at least `cap_bytes` of a longer one. It may arrive in several pieces."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= cap_bytes:
            break
    return bytes(body)


def failure_of(error: aiohttp.ClientError | OSError) -> str:
    """Return why a request failed, in words."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno) if cause.errno > 0 else cause.strerror or "unknown host"
    return type(error).__name__


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
