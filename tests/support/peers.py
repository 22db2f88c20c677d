"""Upstreams of several endpoints: how they are configured, how they are, and bad ones."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import State
from gateway.upstream.upstream import Upstream
from tests.support.gateway import RunningGateway, simple_config


@contextmanager
def refusing_endpoint() -> Iterator[str]:
    """The URL of a port that refuses connections for as long as the block runs."""
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def unanswering_endpoint() -> Iterator[str]:
    """The URL of a port whose queue of connections is full: the kernel drops every SYN."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


def endpoints(*urls: str, **upstream: Any) -> dict[str, Any]:
    """A configuration whose one upstream has these endpoints."""
    return simple_config(
        urls[0], upstream={"endpoints": [{"url": url} for url in urls], **upstream}
    )


def ranked(*urls: str, **upstream: Any) -> dict[str, Any]:
    """The same, but each is asked only where those before it cannot be."""
    by_rank = [{"url": url, "priority": rank} for rank, url in enumerate(urls)]
    return simple_config(urls[0], upstream={"endpoints": by_rank, **upstream})


def upstream_of(gateway: RunningGateway, name: str = "main") -> Upstream:
    """What a running gateway knows of an upstream."""
    return gateway.server.runtime.upstreams[name]


def endpoint_at(gateway: RunningGateway, url: str) -> Endpoint:
    """What it knows of an endpoint of `main`."""
    return next(e for e in upstream_of(gateway).endpoints if e.url == url)


def state_of(gateway: RunningGateway, url: str) -> State:
    """What an endpoint of `main` is good for now."""
    return upstream_of(gateway).state(endpoint_at(gateway, url))


def busy_connections(endpoint: Endpoint) -> int:
    """Connections to it that are not idle."""
    return endpoint.pool.open - len(endpoint.pool._idle)


async def idle(gateway: RunningGateway) -> None:
    """Return when no request is under way, at an endpoint or between two."""

    def busy() -> bool:
        # Between two attempts a request is at no endpoint, and will be at one again.
        return bool(gateway.server.state.overload.requests) or any(
            upstream.pending or any(endpoint.in_flight for endpoint in upstream.endpoints)
            for upstream in gateway.server.runtime.upstreams.values()
        )

    async with asyncio.timeout(10):
        while busy():  # noqa: ASYNC110 -- there is no event for all of it
            await asyncio.sleep(0.001)
