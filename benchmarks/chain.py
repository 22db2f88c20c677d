"""Cost of each part of a chain in a running gateway: µs of a worker's CPU for each request.

In isolation, the same parts cost less (see `costs`): here they share the processor's caches with
the rest of the request, and the worker's replies to the admin process are counted too.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.peers import JWT, gateway
from benchmarks.processes import cores, free_ports, running
from benchmarks.processor import cpu_us, worker_of
from benchmarks.tokens import bearer, public_pem
from benchmarks.workloads import WORKLOADS

_OFF: dict[str, Any] = {"log": {"access": False}, "metrics": None, "traces": None}
_AUTH: dict[str, Any] = {
    "route": {"auth": ["bench"]},
    "auth": {"bench": JWT},
}
_BARE = "bare"
_PARTS: dict[str, dict[str, Any]] = {
    _BARE: {"telemetry": _OFF},
    "a JWT": {"telemetry": _OFF, **_AUTH},
    "a JWT and a limit": {
        "telemetry": _OFF,
        **_AUTH,
        "route": {"auth": ["bench"], "limits": ["all"]},
        "limits": {"all": {"key": "subject", "requests": "1000000000/minute"}},
    },
    "the access log": {"telemetry": {**_OFF, "log": {"access": True, "format": "json"}}},
    "metrics": {"telemetry": {**_OFF, "metrics": {}}},
    "traces, not sampled": {"telemetry": {**_OFF, "traces": {"sample": 0.0}}},
    "traces, one in ten": {"telemetry": {**_OFF, "traces": {"sample": 0.1}}},
    "traces, all": {"telemetry": {**_OFF, "traces": {"sample": 1.0}}},
}
_LOAD = WORKLOADS["unary64"]


def measure(
    mockllm: Path, sseload: Path, folder: Path, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Return µs of CPU for each request, for each part and round. The rounds are interleaved."""
    ours, theirs = cores()
    (backend,) = free_ports(1)
    found: dict[str, list[float]] = {name: [] for name in _PARTS}
    with ExitStack() as stack:
        command = [str(mockllm), str(backend)]
        stack.enter_context(running(command, backend, core=theirs, log=folder / "backend.log"))
        started: dict[str, tuple[int, int]] = {}
        for number, (name, sections) in enumerate(_PARTS.items()):
            own = folder / str(number)
            own.mkdir()
            (own / "public.pem").write_bytes(public_pem())
            port, admin = free_ports(2)
            log = own / "log"
            command = gateway(
                own, port, backend, admin={"listen": f"127.0.0.1:{admin}"}, **sections
            )
            stack.enter_context(running(command, port, core=ours, log=log, stdout=own / "out"))
            started[name] = port, worker_of(admin, theirs)
        names = list(started)
        for turn in range(rounds + 1):
            for name in names if turn % 2 else reversed(names):
                port, worker = started[name]
                before = cpu_us([worker])
                requests = _LOAD.run(sseload, port, bearer(), seconds).units
                if turn:  # the first round is a warm-up
                    found[name].append((cpu_us([worker]) - before) / requests)
    return found


def render(found: Mapping[str, list[float]]) -> str:
    """Return a table with the median of the rounds, and the median difference to the bare
    gateway.
    """
    rows = ["| | µs of CPU a request | more than bare |", "|---|---:|---:|"]
    for name, costs in found.items():
        more = statistics.median(a - b for a, b in zip(costs, found[_BARE], strict=True))
        rows.append(f"| {name} | {statistics.median(costs):.1f} | {more:.1f} |")
    return "\n".join(rows)
