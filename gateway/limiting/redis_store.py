"""Limits in Redis, shared by replicas: one Lua script, one call for each turn of the event loop.

The connection is one of `limits`' storages, which know plain Redis, Sentinel and Cluster. All keys
carry one hash tag, so that a Cluster keeps them on one node, where a script can see them together.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from limits.aio.storage import RedisStorage
from limits.storage import storage_from_string
from redis.exceptions import NoScriptError, RedisError

from gateway.limiting.batch import Batch, Batcher
from gateway.limiting.demand import Demand, Level, Verdict
from gateway.limiting.store import StoreUnavailable

TIMEOUT_S = 0.04
_PREFIX = "{llm-gateway}:"
_REVOKED = _PREFIX + "revoked"
_SCRIPT = Path(__file__).with_name("take.lua").read_bytes()


class RedisStore:
    """Exact for all who share a Redis."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """`url` as `limits` takes it: redis://, rediss://, redis+sentinel://, redis+cluster://."""
        storage = storage_from_string(
            f"async+{url}",
            implementation="redispy",
            socket_connect_timeout=timeout_s,
            socket_timeout=timeout_s,
        )
        assert isinstance(storage, RedisStorage)
        bridge: Any = storage.bridge
        self._client: Any = bridge.get_connection()
        self._timeout_s = timeout_s
        self._digest: str | None = None
        self._batcher = Batcher(self._send)

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        return await self._batcher.decide(demands)

    def post(self, demands: Sequence[Demand]) -> None:
        self._batcher.post(demands)

    async def revoke(self, token_id: str, ttl_s: float) -> None:
        now = time.time()
        async with self._reachable():
            await self._client.zadd(_REVOKED, {token_id: now + ttl_s})
            await self._client.zremrangebyscore(_REVOKED, "-inf", now)

    async def revoked(self) -> frozenset[str]:
        async with self._reachable():
            found = await self._client.zrangebyscore(_REVOKED, time.time(), "+inf")
        return frozenset(token_id.decode() for token_id in found)

    async def close(self) -> None:
        await self._batcher.close()
        await self._client.aclose()

    async def _send(self, batch: Batch) -> Sequence[Verdict]:
        keys = [_PREFIX + demand.key for demands in batch for demand in demands]
        # One argument of JSON costs a fifth of a thousand arguments.
        asked = orjson.dumps(
            [
                [
                    (d.kind, d.amount, d.size, d.per_s, int(d.ttl_s * 1000), d.holder)
                    for d in demands
                ]
                for demands in batch
            ]
        )
        async with self._reachable():
            said = await self._evaluate(keys, asked)
        return _verdicts(said, batch)

    @contextlib.asynccontextmanager
    async def _reachable(self) -> AsyncIterator[None]:
        """Within the time it has, and every way to fail as one. Raise StoreUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except (RedisError, OSError, TimeoutError) as exc:
            raise StoreUnavailable(f"{type(exc).__name__}: {exc}") from exc

    async def _evaluate(self, keys: list[str], asked: bytes) -> list[int]:
        if self._digest is not None:
            try:
                known: list[int] = await self._client.evalsha(self._digest, len(keys), *keys, asked)
                return known
            except NoScriptError:  # a new Redis, or one that was flushed
                pass
        self._digest = await self._client.script_load(_SCRIPT)
        loaded: list[int] = await self._client.evalsha(self._digest, len(keys), *keys, asked)
        return loaded


def _verdicts(said: list[int], batch: Batch) -> list[Verdict]:
    verdicts = []
    place = 0
    for demands in batch:
        refused, place = said[place], place + 1
        end = place + 2 * len(demands)
        levels = tuple(Level(said[i], said[i + 1] / 1e6) for i in range(place, end, 2))
        verdicts.append(Verdict(levels, None if refused < 0 else refused))
        place = end
    return verdicts
