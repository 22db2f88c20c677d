"""Many keys and budgets over two gateways and a Redis: whether they count to the unit, and what a
request costs.

The load, the backend and the Redis share a core, and the gateways have the other one. The CPU time
is that of the workers, which does not depend on the speed of the rest.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.key_load import Counts, Gateway, backend, config, fill, load, ready, settle
from benchmarks.processes import cores, free_ports, redis_server, running

_FEW_KEYS, _FEW_TEAMS = 10, 1
_PROGRAM = """
import sys
from gateway.cli import main
from gateway.stores.redis.limits import RedisLimits
RedisLimits.__init__.__kwdefaults__["timeout_s"] = 5.0
sys.exit(main())
"""
"""The gateway, but patient: load, backend and Redis share a core, and a late answer of the Redis
would make it count alone.
"""


@dataclass(frozen=True, slots=True)
class KeyLoadResult:
    """Results with one number of keys and teams."""

    keys: int
    teams: int
    fill_s: float
    cpu_us: float
    """CPU time of the workers for a request with one of ten keys."""
    random_cpu_us: float
    """The same for a request with any of the keys."""
    counts: Counts
    """What was answered and counted with any of the keys, while keys and teams changed."""


def measure(folder: Path, keys: int, teams: int, requests: int) -> list[KeyLoadResult]:
    """Return the results with few keys and with many."""
    ours, theirs = cores()
    os.sched_setaffinity(0, theirs)
    try:
        return [
            _measured(folder, number, many, requests, ours, theirs)
            for number, many in ((_FEW_KEYS, _FEW_TEAMS), (keys, teams))
        ]
    finally:
        os.sched_setaffinity(0, ours | theirs)


def render(found: Sequence[KeyLoadResult]) -> str:
    """Return the results as a table."""
    lines = [
        "| Keys | Budgets of teams | CPU of a request, µs | with any key, µs | Answered | Changes "
        "meanwhile | Tokens answered | Tokens counted | Budgets overspent |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        counts = one.counts
        lines.append(
            f"| {one.keys:,} | {one.teams:,} | {one.cpu_us:.0f} | {one.random_cpu_us:.0f} "
            f"| {counts.statuses[200]:,} | {counts.changes:,} | {counts.tokens:,} "
            f"| {counts.counted:,} | {counts.over} |".replace(",", " ")
        )
    return "\n".join(lines)


def document(found: Sequence[KeyLoadResult]) -> list[dict[str, Any]]:
    """Return the results in plain types."""
    # `asdict` makes another Counter of the pairs of one.
    return [
        {**asdict(replace(one, counts=Counts())), "counts": _plain(one.counts)} for one in found
    ]


def _plain(counts: Counts) -> dict[str, Any]:
    statuses = {str(status): number for status, number in counts.statuses.items()}
    return {**asdict(replace(counts, statuses=Counter())), "statuses": statuses}


def _measured(
    folder: Path, keys: int, teams: int, requests: int, ours: set[int], theirs: set[int]
) -> KeyLoadResult:
    (port,) = free_ports(1)
    with redis_server(folder, theirs, port):
        return asyncio.run(_run(folder, f"redis://127.0.0.1:{port}/0", keys, teams, requests, ours))


async def _run(
    folder: Path, redis: str, keys: int, teams: int, requests: int, core: set[int]
) -> KeyLoadResult:
    began = time.monotonic()
    secrets = await fill(redis, keys, teams)
    fill_s = time.monotonic() - began
    async with backend() as backend_port:
        settings = config(redis, backend_port)
        with _gateway(folder, settings, core) as one, _gateway(folder, settings, core) as other:
            gateways, pids = [one[0], other[0]], [one[1], other[1]]
            hot = secrets[1 : 1 + _FEW_KEYS] if keys > _FEW_KEYS else secrets
            await ready(gateways, hot[0])
            sums = await load(gateways, hot, 300, changing=False)  # warm
            costs = []
            for chosen in (hot, secrets):
                before = sum(map(_cpu_s, pids))
                sums = _sum(sums, await load(gateways, chosen, requests, changing=False, seed=1))
                costs.append((sum(map(_cpu_s, pids)) - before) / requests * 1e6)
            sums = _sum(sums, await load(gateways, secrets, requests, seed=2))
            counts = await settle(gateways[0], sums)
    return KeyLoadResult(keys, teams, fill_s, costs[0], costs[1], counts)


def _sum(one: Counts, other: Counts) -> Counts:
    return Counts(
        one.statuses + other.statuses,
        one.tokens + other.tokens,
        changes=one.changes + other.changes,
    )


@contextmanager
def _gateway(
    folder: Path, settings: dict[str, Any], core: set[int]
) -> Iterator[tuple[Gateway, int]]:
    """Run a gateway with one worker during the block. Yield its addresses and its pid."""
    public, admin = free_ports(2)
    file = folder / f"gateway-{public}.yaml"
    settings = {
        **settings,
        "server": {"listen": f"127.0.0.1:{public}", "workers": 1},
        "admin": {"listen": f"127.0.0.1:{admin}"},
    }
    file.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-c", _PROGRAM, "serve", "--config", str(file)]
    log = folder / f"gateway-{public}.log"
    with running(command, public, core=core, log=log) as process:
        addresses = Gateway(f"http://127.0.0.1:{public}", f"http://127.0.0.1:{admin}")
        yield addresses, process.pid


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process and its children so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(_cpu_s(int(child)) for child in children)
