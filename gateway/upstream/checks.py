"""Active health checks: a periodic request to each endpoint, independent of client requests."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import aiohttp

from gateway.upstream.asking import asking, beginning
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.endpoint_tasks import EndpointTasks
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
        self._tasks = EndpointTasks(upstream, self._keep_asking)

    def start(self) -> None:
        """Start the checks. Needs a running event loop."""
        self._tasks.start()

    def close(self) -> None:
        """Stop the checks."""
        self._tasks.close()

    async def _keep_asking(self, endpoint: Endpoint) -> None:
        options = self._options
        await asyncio.sleep(random.uniform(0.0, options.jitter * options.interval_s))  # noqa: S311
        while True:
            self._upstream.checked(endpoint, await self._ask(endpoint))
            spread = random.uniform(-options.jitter, options.jitter)  # noqa: S311
            await asyncio.sleep(options.interval_s * (1.0 + spread))

    async def _ask(self, endpoint: Endpoint) -> str | None:
        """Check once. Return None if the endpoint is healthy, else the reason."""
        options = self._options
        try:
            async with asyncio.timeout(options.timeout_s):
                path = endpoint.pool.address.base + options.path
                async with asking(endpoint, path) as response:
                    if response.status not in options.statuses:
                        return f"check: status {response.status}"
                    if options.body is None or options.body in await beginning(
                        response, _BODY_CAP_BYTES
                    ):
                        return None
                    return "check: the body is not what it should be"
        except TimeoutError:
            return f"check: no answer within {options.timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as exc:
            return f"check: {type(exc).__name__}"
