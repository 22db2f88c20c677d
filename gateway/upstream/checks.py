"""Active health checks: a periodic request to each endpoint, independent of client requests."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import aiohttp

from gateway.upstream.endpoint import Endpoint
from gateway.upstream.resolve import SocketAddress, resolve_checked
from gateway.upstream.upstream import Upstream

_BODY_CAP_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Request of a check, and the expected response. Times in seconds."""

    path: str
    interval_s: float = 10.0
    timeout_s: float = 2.0
    statuses: frozenset[int] = frozenset(range(200, 400))
    body: bytes | None = None
    """Bytes that the response body must contain."""
    jitter: float = 0.2
    """Share of the interval by which it varies, so that gateways do not check in step."""


class Checks:
    """Health checks of one upstream's endpoints. Follows changes of the endpoint list."""

    def __init__(self, upstream: Upstream, options: CheckOptions) -> None:
        self._upstream = upstream
        self._options = options
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Start the checks. Needs a running event loop."""
        self._upstream.on_update = self._follow
        self._follow()

    def close(self) -> None:
        """Stop the checks."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _follow(self) -> None:
        there = set(self._upstream.endpoints)
        for endpoint in set(self._tasks) - there:
            self._tasks.pop(endpoint).cancel()
        for endpoint in there - set(self._tasks):
            self._tasks[endpoint] = asyncio.create_task(self._keep_asking(endpoint))

    async def _keep_asking(self, endpoint: Endpoint) -> None:
        options = self._options
        await asyncio.sleep(random.uniform(0.0, options.jitter * options.interval_s))  # noqa: S311
        while True:
            self._upstream.checked(endpoint, await self._ask(endpoint))
            spread = random.uniform(-options.jitter, options.jitter)  # noqa: S311
            await asyncio.sleep(options.interval_s * (1.0 + spread))

    async def _ask(self, endpoint: Endpoint) -> str | None:
        """Check once. Return None if the endpoint is healthy, else the reason."""
        options, proxy = self._options, endpoint.pool.proxy
        try:
            if proxy is None:
                async with asyncio.timeout(options.timeout_s):
                    address = endpoint.pool.address
                    policy = endpoint.pool.policy
                    found = await resolve_checked(address.host, address.port, policy)
                return await self._get(endpoint, found[0], None)
            address = endpoint.pool.address
            return await self._get(endpoint, (address.host, address.port), proxy.connector())
        except TimeoutError:
            return f"check: no answer within {options.timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as exc:
            return f"check: {type(exc).__name__}"

    async def _get(
        self,
        endpoint: Endpoint,
        socket_address: SocketAddress,
        connector: aiohttp.BaseConnector | None,
    ) -> str | None:
        options, address = self._options, endpoint.pool.address
        scheme = "https" if address.tls is not None else "http"
        host, port = socket_address
        # A new session for each check: the endpoint has to accept a new connection.
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=options.timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            ) as session,
            session.get(
                f"{scheme}://{_in_url(host)}:{port}{address.base}{options.path}",
                headers={"Host": address.authority},
                ssl=address.tls or False,
                server_hostname=address.server_name,
                allow_redirects=False,
            ) as response,
        ):
            if response.status not in options.statuses:
                return f"check: status {response.status}"
            if options.body is not None and options.body not in await _beginning(response):
                return "check: the body is not what it should be"
        return None


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return the body up to a size limit. It may arrive in several pieces."""
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= _BODY_CAP_BYTES:
            break
    return body
