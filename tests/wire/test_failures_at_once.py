"""All failures at once, and clients that leave: nothing is left behind, nobody is kept waiting."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from tests.support.client import ConnectionEnded, RawClient, request
from tests.support.exchange import EVENTS
from tests.support.figures import Report
from tests.support.gateway import StartGateway
from tests.support.peers import busy_connections, endpoints, idle, upstream_of
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    reply,
)
from tests.support.waiting import SLACK_S

HEDGED: dict[str, Any] = {
    "hedge": {"after": "15ms"},
    "retries": {"post": True, "reserve": 1000},
}
CROWDED: dict[str, Any] = {"max_requests": 4, "pending_wait": "200ms"}
OPTIONS: dict[str, dict[str, Any]] = {
    "retried": {"retries": {"post": True}},
    "hedged": HEDGED,
    "crowded": CROWDED,
    "hedged-and-crowded": HEDGED | CROWDED,
    "queued": {"admission": {"concurrency": 10, "max_wait": "200ms"}},
    "ejected-at-once": {
        "outliers": {
            "failures": 1,
            "base": "30ms",
            "successes": 1,
            "slow_start": "20ms",
            "max_ejected": "100%",
        }
    },
}
KINDS = ("ok", "ok", "ok", "stream", "stream", "reset", "hang", "cut", "503", "500", "429")


async def failing_in_all_ways(connection: UpstreamConnection) -> None:
    """Do as the last segment of the path says."""
    while True:
        kind = (await connection.read_request()).target.rpartition("/")[2]
        await asyncio.sleep(random.choice([0.0, 0.0, 0.01, 0.03]))
        if kind == "reset":
            return connection.reset()
        if kind == "hang":
            break
        if kind in ("cut", "stream"):
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            if kind == "cut":
                return None
            await connection.send(chunk(EVENTS[1]) + LAST_CHUNK)
        else:
            status = "200 OK" if kind == "ok" else f"{kind} Failed"
            await connection.send(reply(b"{}", status=status))
    await connection.wait_client_gone()


async def client(port: int) -> None:
    """Some requests of all kinds, each waited for a short or a long time."""
    for _ in range(6):
        await asyncio.sleep(random.uniform(0.0, 0.05))
        method, kind = random.choice(["GET", "POST"]), random.choice(KINDS)
        async with RawClient(port) as raw:
            await raw.send(request(method, f"/v1/{kind}"))
            try:
                async with asyncio.timeout(random.choice([0.005, 0.02, 0.05, 8.0])):
                    await raw.read_response(method)
            except (TimeoutError, ConnectionEnded):
                continue


@pytest.mark.parametrize("name", OPTIONS)
async def test_whatever_happens_nothing_is_left_behind_and_nobody_kept_waiting(
    start_gateway: StartGateway, report: Report, name: str
) -> None:
    random.seed(16)
    script = failing_in_all_ways
    async with ScriptedUpstream(script) as one, ScriptedUpstream(script) as other:
        timeouts = {"first_byte": "100ms", "idle": "100ms"}
        gateway = await start_gateway(
            endpoints(one.url, other.url, timeouts=timeouts, **OPTIONS[name])
        )
        started = time.perf_counter()
        await asyncio.gather(*(client(gateway.port) for _ in range(60)))
        took_s = time.perf_counter() - started
        await idle(gateway)
        for endpoint in upstream_of(gateway).endpoints:
            assert (endpoint.in_flight, endpoint.carried, busy_connections(endpoint)) == (0, 0, 0)
        if (admission := gateway.server.runtime.admission) is not None:
            (gate,) = admission.gates
            assert (gate.passing, gate.waiting) == (0, 0)
        longest_ms = max(line["duration_ms"] for line in gateway.log.requests)
        faults = [line for line in gateway.log_lines if line["level"] == "error"]
    assert faults == []
    report("all", f"longest of {60 * 6} requests, {name}, ms", longest_ms)
    # A client that is kept waiting leaves after 8 s. On a busy machine, each takes a part of the
    # time that all take together.
    assert longest_ms < max(SLACK_S, 0.75 * took_s) * 1000
