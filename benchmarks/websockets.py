"""Cost of WebSockets: CPU time for each message, latency of an echo, memory for each connection.

The clients and the upstream, which echoes every message, share this process and one core. The
measured program has the other core to itself. The CPU time for a message does not depend on the
speed of the clients.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import aiohttp
from aiohttp import web

from benchmarks.peers import PEERS, Place, gateway
from benchmarks.processes import cores, free_ports, running
from benchmarks.slow_readers import rss_kib

_MESSAGE = "x" * 200
_BUSY, _IDLE = 32, 5000
_OPENED_AT_ONCE = 50
_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one peer in one round. An echo counts as two messages, one in each direction."""

    cpu_us: float
    echo_p50_us: float
    connections: int
    """Connections that were open at once, each of which answered."""
    kib_per_connection: float


def measure(
    folder: Path, rounds: int, names: Sequence[str] = ("aiohttp", "gateway")
) -> dict[str, list[Cost]]:
    """Return the costs of the peers, measured in turn."""
    found: dict[str, list[Cost]] = {name: [] for name in names}
    ours, theirs = cores()
    os.sched_setaffinity(0, theirs)
    try:
        for _ in range(rounds):
            for name, costs in found.items():
                costs.append(asyncio.run(_measure(name, folder, ours)))
    finally:
        os.sched_setaffinity(0, ours | theirs)
    return found


def render(found: dict[str, list[Cost]]) -> str:
    """Return the medians as a table."""
    lines = [
        "| | CPU, µs per message | echo p50, 1 conn., µs | KiB per connection |",
        "|---|---:|---:|---:|",
    ]
    for name, costs in found.items():
        cpu_us = median(cost.cpu_us for cost in costs)
        echo_us = median(cost.echo_p50_us for cost in costs)
        kib = median(cost.kib_per_connection for cost in costs)
        lines.append(f"| {name} | {cpu_us:.1f} | {echo_us:.0f} | {kib:.1f} |")
    return "\n".join(lines)


async def _measure(name: str, folder: Path, core: set[int]) -> Cost:
    upstream, port = free_ports(2)
    own = folder / name
    own.mkdir(exist_ok=True)
    if name == "gateway":
        command = gateway(
            own,
            port,
            upstream,
            route={"websocket": True},
            telemetry={"log": {"access": False}},
            server={"max_connections": 2 * _IDLE, "max_requests": 2 * _IDLE},
            mock={"max_connections": 2 * _IDLE, "max_requests": 2 * _IDLE},
        )
    else:
        command = PEERS[name].command(replace(Place.pick(own, upstream), port=port))
    url = f"http://127.0.0.1:{port}/"
    async with _echo(upstream), _clients() as http:
        with running(command, port, core=core, log=own / "log") as process:
            await _talk(http, url, 0.5)  # warm up
            _, times = await _talk(http, url, _SECONDS / 2)
            before_s = _cpu_s(process.pid)
            async with asyncio.TaskGroup() as group:
                talks = [group.create_task(_talk(http, url, _SECONDS)) for _ in range(_BUSY)]
            messages = 2 * sum(talk.result()[0] for talk in talks)
            cpu_us = (_cpu_s(process.pid) - before_s) / messages * 1e6
            before_kib = rss_kib(process.pid)
            sockets = await _opened(http, url)
            kib = (rss_kib(process.pid) - before_kib) / _IDLE
            for each in sockets:
                await each.close()
    return Cost(cpu_us, median(times) * 1e6, len(sockets), kib)


async def _opened(http: aiohttp.ClientSession, url: str) -> list[aiohttp.ClientWebSocketResponse]:
    """Open many connections, and send one message over each and back."""
    gate = asyncio.Semaphore(_OPENED_AT_ONCE)

    async def one() -> aiohttp.ClientWebSocketResponse:
        async with gate:
            socket = await http.ws_connect(url)
            await socket.send_str(_MESSAGE)
            await socket.receive_str()
            return socket

    return list(await asyncio.gather(*(one() for _ in range(_IDLE))))


async def _talk(http: aiohttp.ClientSession, url: str, seconds: float) -> tuple[int, list[float]]:
    """Send a message and wait for its echo, for so many seconds. Return the number of echoes and
    the seconds of each.
    """
    times: list[float] = []
    async with http.ws_connect(url) as socket:
        end = time.perf_counter() + seconds
        said_at = time.perf_counter()
        while said_at < end:
            await socket.send_str(_MESSAGE)
            assert await socket.receive_str() == _MESSAGE
            now = time.perf_counter()
            times.append(now - said_at)
            said_at = now
    return len(times), times


@asynccontextmanager
async def _echo(port: int) -> AsyncIterator[None]:
    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    application = web.Application()
    application.router.add_get("/", talk)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


def _clients() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its children. A gateway's workers are children of its
    master.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for each in (str(pid), *children):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
