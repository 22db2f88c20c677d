"""What auth, limits and traces cost each request: µs of CPU of the gateway's own core."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jwt
import uvloop

from benchmarks import tracing
from benchmarks.peers import SECRET, bearer
from benchmarks.processes import free_ports, program, running
from gateway.auth.claims import ClaimMap
from gateway.auth.jwk import VerificationKey
from gateway.auth.jwt import REVOKED, JwtProvider
from gateway.auth.key_sets import StaticKey
from gateway.limiting.demand import Demand, Kind
from gateway.limiting.guard import GuardedStore, OnStoreError
from gateway.limiting.memory_store import MemoryStore
from gateway.limiting.redis_store import RedisStore
from gateway.limiting.sqlite_store import SqliteStore
from gateway.store.following import Following
from gateway.store.memory_records import MemoryRecords

_CALLS = 20_000
_CONCURRENT = 64
_MODES = (OnStoreError.LOCAL, OnStoreError.LOCAL)


def measure(folder: Path, core: set[int]) -> dict[str, float]:
    """µs of CPU a request, by what is done; Redis itself runs on `core`."""
    return uvloop.run(_measure(folder, core))


def render(costs_us: Mapping[str, float]) -> str:
    """As a table."""
    rows = [f"| {name} | {cost_us:.1f} |" for name, cost_us in costs_us.items()]
    return "\n".join(["| | µs of CPU a request |", "|---|---:|", *rows])


async def _measure(folder: Path, core: set[int]) -> dict[str, float]:
    found = {
        "a JWT that was verified before": await _cost(_cached_jwt(), 1),
        "two limits in memory": await _limits(GuardedStore(MemoryStore()), 1),
    }
    stored = GuardedStore(SqliteStore(folder / "limits.db"))
    found[f"two limits in SQLite, {_CONCURRENT} at a time"] = await _limits(stored, _CONCURRENT)
    await stored.close()
    with _redis(folder, core) as url:
        stored = GuardedStore(RedisStore(url, timeout_s=5.0))
        found[f"two limits in Redis, {_CONCURRENT} at a time"] = await _limits(stored, _CONCURRENT)
        await stored.close()
    return found | await tracing.measure()


def _cached_jwt() -> Callable[[], Awaitable[object]]:
    key = jwt.get_algorithm_by_name("HS256").prepare_key(SECRET.encode())
    provider = JwtProvider(
        "bench",
        keys=StaticKey(VerificationKey(None, "HS256", key)),
        issuer="bench",
        audience=("bench",),
        leeway_s=0.0,
        claims=ClaimMap(),
        revoked=Following(MemoryRecords(), REVOKED),
    )
    token = bearer()
    return lambda: provider.verify(token)


async def _limits(store: GuardedStore, concurrent: int) -> float:
    demands = [
        Demand(Kind.TAKE, "subject", 1.0, 1e9, 1e9),
        Demand(Kind.TAKE, "tenant", 500.0, 1e9, 1e9),
    ]
    return await _cost(lambda: store.decide(demands, _MODES), concurrent)


async def _cost(call: Callable[[], Awaitable[object]], concurrent: int) -> float:
    """µs of CPU for one call, of so many at a time."""

    async def work(count: int) -> None:
        for _ in range(count):
            await call()

    await work(100)
    started = time.process_time()
    await asyncio.gather(*(work(_CALLS // concurrent) for _ in range(concurrent)))
    return (time.process_time() - started) / _CALLS * 1e6


@contextmanager
def _redis(folder: Path, core: set[int]) -> Iterator[str]:
    binary = program("redis-server")
    (port,) = free_ports(1)
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir"]
    with running([*command, str(folder)], port, core=core, log=folder / "redis.log"):
        yield f"redis://127.0.0.1:{port}/0"
