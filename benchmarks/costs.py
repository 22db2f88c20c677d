"""Cost of auth, limits, metrics and traces for each request, in isolation: µs of CPU."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import jwt
import uvloop

from benchmarks import tracing
from benchmarks.processes import free_ports, redis_server
from benchmarks.tokens import AUDIENCE, ISSUER, bearer, public_pem
from gateway.auth.claims import ClaimMap
from gateway.auth.jwk import VerificationKey
from gateway.auth.jwt import REVOKED, JwtProvider
from gateway.auth.key_sets import StaticKey
from gateway.auth.principal import Principal
from gateway.dialects.usage_tap import UsageTap
from gateway.exchange import Exchange
from gateway.limiting.demand import Demand, Kind
from gateway.limiting.guard import GuardedStore, OnStoreError
from gateway.limiting.rules import Price
from gateway.limiting.store import Store
from gateway.middleware.metrics import Counting, Names
from gateway.outcome import EndReason
from gateway.store.record_watcher import RecordWatcher
from gateway.stores.memory.limits import MemoryLimits
from gateway.stores.memory.records import MemoryRecords
from gateway.stores.redis.limits import RedisLimits
from gateway.stores.sqlite.limits import SqliteLimits
from gateway.telemetry.metrics.registry import Registry

_CALLS = 20_000
_CONCURRENT = 64
_EVENT = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":" word"}}]}\n\n'
_USAGE = b'{"id":"x","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}\n\n'
_MODES = (OnStoreError.LOCAL, OnStoreError.LOCAL)


def measure(folder: Path, core: set[int]) -> dict[str, float]:
    """Return µs of CPU for each request, by operation. Redis itself runs on `core`."""
    return uvloop.run(_measure(folder, core))


def render(costs_us: Mapping[str, float]) -> str:
    """Return the costs as a table."""
    rows = [f"| {name} | {cost_us:.1f} |" for name, cost_us in costs_us.items()]
    return "\n".join(["| | µs of CPU a request |", "|---|---:|", *rows])


async def _measure(folder: Path, core: set[int]) -> dict[str, float]:
    found = {
        "a JWT that was verified before": await _cost(_cached_jwt(), 1),
        "two limits in memory": await _limits(_guarded(MemoryLimits()), 1),
    }
    stored = _guarded(SqliteLimits(folder / "limits.db"))
    found[f"two limits in SQLite, {_CONCURRENT} at a time"] = await _limits(stored, _CONCURRENT)
    await stored.close()
    (port,) = free_ports(1)
    with redis_server(folder, core, port):
        stored = _guarded(RedisLimits(f"redis://127.0.0.1:{port}/0", timeout_s=5.0))
        found[f"two limits in Redis, {_CONCURRENT} at a time"] = await _limits(stored, _CONCURRENT)
        await stored.close()
    found |= {f"metrics: {name}": cost for name, cost in _metrics().items()}
    return found | await tracing.measure()


def _metrics() -> dict[str, float]:
    """Measure the cost of metrics, without the cost of creating an exchange."""
    prices = {"m": (Price(1.0, 2.0, 1.0, 1.0, 2.0), "USD")}
    names = Names({"r": "/v1/"}, {("m", "up"): "mm"}, {"up": "openai"}, prices)
    counting = Counting(Registry(), names, tenants=100, tokens=True)
    somebody = Principal("alice", "bench", tenant="acme")

    def exchange(model: str | None, *, counted: bool) -> None:
        made = Exchange("POST", "127.0.0.1", False)
        made.route, made.path, made.principal = "r", "/v1/chat/completions", somebody
        made.model, made.upstream, made.endpoint, made.status = model, "up", "http://up", 200
        made.first_byte_at = made.started_at
        if counted:
            made.phases = (lambda ended: counting.on_report([ended]),)
        if model is not None and counted:
            made.tap = tap = UsageTap()
            tap.feed(_USAGE)
        made.end(EndReason.COMPLETE)

    def cost(model: str | None) -> float:
        with_it, without = (
            _cpu(partial(exchange, model, counted=counted)) for counted in (True, False)
        )
        return with_it - without

    piece = UsageTap()
    return {
        "a request": cost(None),
        "a model's answer, with its tokens": cost("m"),
        "each event of a stream": _cpu(lambda: piece.feed(_EVENT)),
    }


def _cpu(call: Callable[[], object]) -> float:
    """Return µs of CPU for one call, the minimum of 5 rounds."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(_CALLS):
            call()
        best = min(best, (time.process_time() - started) / _CALLS * 1e6)
    return best


def _cached_jwt() -> Callable[[], Awaitable[object]]:
    key = jwt.get_algorithm_by_name("RS256").prepare_key(public_pem())
    provider = JwtProvider(
        "bench",
        keys=StaticKey(VerificationKey(None, "RS256", key)),
        issuer=ISSUER,
        audience=(AUDIENCE,),
        leeway_s=0.0,
        claims=ClaimMap(),
        revoked=RecordWatcher(MemoryRecords(), REVOKED),
    )
    token = bearer()
    return lambda: provider.verify(token)


def _guarded(store: Store) -> GuardedStore:
    return GuardedStore(store, local=MemoryLimits())


async def _limits(store: GuardedStore, concurrent: int) -> float:
    demands = [
        Demand(Kind.TAKE, "subject", 1.0, 1e9, 1e9),
        Demand(Kind.TAKE, "tenant", 500.0, 1e9, 1e9),
    ]
    return await _cost(lambda: store.decide(demands, _MODES), concurrent)


async def _cost(call: Callable[[], Awaitable[object]], concurrent: int) -> float:
    """Return µs of CPU for one call, with so many concurrent calls."""

    async def work(count: int) -> None:
        for _ in range(count):
            await call()

    await work(100)
    started = time.process_time()
    await asyncio.gather(*(work(_CALLS // concurrent) for _ in range(concurrent)))
    return (time.process_time() - started) / _CALLS * 1e6
