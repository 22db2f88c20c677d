"""Background tasks for the endpoints of an upstream."""

from __future__ import annotations

import asyncio

from gateway.load.turn_writes import TurnWrites
from gateway.upstream.address import parse_address
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.dialer import Dialer
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.endpoint_tasks import EndpointTasks
from gateway.upstream.health import Health, HealthOptions
from gateway.upstream.options import Timeouts, UpstreamOptions
from gateway.upstream.pool import EndpointPool
from gateway.upstream.upstream import Upstream


def endpoint(port: int) -> Endpoint:
    return Endpoint(
        EndpointPool(
            Dialer(parse_address(f"http://127.0.0.1:{port}", None, None)),
            max_connections=1,
            keepalive_s=1.0,
            writes=TurnWrites(),
        ),
        Health(HealthOptions()),
        full_weight=1,
        priority=0,
        max_requests=1,
        fixed_lines=b"",
    )


async def test_tasks_follow_the_endpoints_until_they_are_closed() -> None:
    running: set[str] = set()

    async def run(one: Endpoint) -> None:
        running.add(one.key)
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(one.key)

    first, second, third = map(endpoint, (1, 2, 3))
    options = UpstreamOptions(Timeouts(1.0, 1.0, 1.0), frozenset())
    upstream = Upstream("u", options, LeastRequests(), [first], now=lambda: 0.0)
    tasks = EndpointTasks(upstream, run)
    tasks.start()
    await asyncio.sleep(0)
    assert running == {first.key}
    upstream.update([second, third])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert running == {second.key, third.key}
    tasks.close()
    await asyncio.sleep(0)
    assert running == set()
    upstream.update([first])
    await asyncio.sleep(0)
    assert running == set(), "nothing starts after the end"
