"""Upstreams with several endpoints: their configuration, their state, and broken endpoints."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import EndpointState
from gateway.upstream.upstream import Upstream
from tests.support.gateway import RunningGateway, simple_config
from tests.support.waiting import eventually


@contextmanager
def refusing_endpoint() -> Iterator[str]:
    """Yield the URL of a port that refuses connections during the block."""
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def unanswering_endpoint() -> Iterator[str]:
    """Yield the URL of a port whose queue of connections is full: the kernel drops every SYN."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


def endpoints(*urls: str, **upstream: Any) -> dict[str, Any]:
    """Return a configuration whose only upstream has these endpoints."""
    return simple_config(
        urls[0], upstream={"endpoints": [{"url": url} for url in urls], **upstream}
    )


def ranked(*urls: str, **upstream: Any) -> dict[str, Any]:
    """Return a configuration like `endpoints`, but each endpoint is used only if those before it
    cannot be.
    """
    by_rank = [{"url": url, "priority": rank} for rank, url in enumerate(urls)]
    return simple_config(urls[0], upstream={"endpoints": by_rank, **upstream})


def upstream_of(gateway: RunningGateway, name: str = "main") -> Upstream:
    """Return an upstream of a running gateway."""
    return gateway.server.runtime.upstreams[name]


def endpoint_at(gateway: RunningGateway, url: str) -> Endpoint:
    """Return an endpoint of the upstream `main`."""
    return next(e for e in upstream_of(gateway).endpoints if e.url == url)


def state_of(gateway: RunningGateway, url: str) -> EndpointState:
    """Return the current state of an endpoint of `main`."""
    return upstream_of(gateway).state(endpoint_at(gateway, url))


def busy_connections(endpoint: Endpoint) -> int:
    """Return the number of connections to an endpoint that are not idle."""
    return endpoint.pool.open - endpoint.pool.idle


async def idle(gateway: RunningGateway) -> None:
    """Wait until no request is in flight, at an endpoint or between two attempts."""

    def busy() -> bool:
        # Between two attempts, a request is at no endpoint, but still in flight.
        return bool(gateway.server.state.overload.requests) or any(
            upstream.pending or any(endpoint.in_flight for endpoint in upstream.endpoints)
            for upstream in gateway.server.runtime.upstreams.values()
        )

    await eventually(lambda: not busy())
