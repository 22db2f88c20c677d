"""Cost of keeping streams: µs of the gateway's CPU for each event, by the place where they are
kept.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers import gateway
from benchmarks.processes import cores, free_ports, redis_server, running
from benchmarks.workloads import WORKLOADS

_WAYS = ("passed through", "kept in memory", "kept in Redis")
_LOAD = WORKLOADS["paced"]


def measure(
    mockllm: Path, sseload: Path, folder: Path, rounds: int, seconds: float
) -> dict[str, Any]:
    """Measure each way in turn, for so many rounds. Return the medians of µs of CPU for each event,
    for the gateway and for Redis.
    """
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in _WAYS}
    for _ in range(rounds):
        for way in _WAYS:
            found[way].append(_once(way, mockllm, sseload, folder, seconds))
    return {
        way: {
            "gateway_us": statistics.median(ours for ours, _ in each),
            "redis_us": statistics.median(redis for _, redis in each),
        }
        for way, each in found.items()
    }


def render(costs: Mapping[str, Mapping[str, float]]) -> str:
    """Return the costs as a table."""
    lines = ["| µs of CPU an event | gateway | Redis |", "|---|---:|---:|"]
    for way, cost in costs.items():
        redis = f"{cost['redis_us']:.1f}" if cost["redis_us"] else ""
        lines.append(f"| {way} | {cost['gateway_us']:.1f} | {redis} |")
    return "\n".join(lines)


def _once(
    way: str, mockllm: Path, sseload: Path, folder: Path, seconds: float
) -> tuple[float, float]:
    ours, theirs = cores()
    backend, port = free_ports(2)
    log = folder / "log"
    route: dict[str, Any] = {} if way == _WAYS[0] else {"resume": {"ttl": "2s"}}
    (at,) = free_ports(1)
    with redis_server(folder, theirs, at) as redis:
        store = {"url": f"redis://127.0.0.1:{at}/0" if way == _WAYS[2] else "memory://"}
        command = gateway(
            folder, port, backend, route=route, store=store, telemetry={"log": {"access": False}}
        )
        with (
            running([str(mockllm), str(backend)], backend, core=theirs, log=log),
            running(command, port, core=ours, log=log) as process,
        ):
            before = cpu_s(process.pid), cpu_s(redis.pid)
            events = _LOAD.run(sseload, port, None, max(seconds, _LOAD.least_s)).units
            after = cpu_s(process.pid), cpu_s(redis.pid)
    spent = [(b - a) * 1e6 / events for a, b in zip(before, after, strict=True)]
    return spent[0], spent[1] if way == _WAYS[2] else 0.0


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its children. A gateway's workers are children of its
    master.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for each in (str(pid), *children):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
