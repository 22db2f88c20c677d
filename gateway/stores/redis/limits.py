"""Limit store in Redis, shared by replicas: one Lua script, one call per turn of the event loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from redis.exceptions import NoScriptError

from gateway.limiting.batch import Batch, Batcher
from gateway.limiting.demand import Demand, Level, LimitVerdict
from gateway.stores.redis.client import PREFIX, answering_within, connect, disconnect

TIMEOUT_S = 0.04
_LATE_S = 2.0
"""Time for which a call goes on after its decisions were given up."""
_SCRIPT = Path(__file__).with_name("take.lua").read_bytes()


class RedisLimits:
    """Exact limits for all gateways that share a Redis."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """`timeout_s` is the time that a decision waits. Raise ValueError if the URL is not
        usable.
        """
        self._timeout_s = timeout_s + _LATE_S
        self._client: Any = connect(url, self._timeout_s)
        self._digest: str | None = None
        self._batcher = Batcher(self.send, patience_s=timeout_s)

    def decide_now(self, demands: Sequence[Demand]) -> None:
        """Return None: Redis has to be waited for."""

    async def decide(self, demands: Sequence[Demand]) -> LimitVerdict:
        return await self._batcher.decide(demands)

    def post(self, demands: Sequence[Demand]) -> None:
        self._batcher.post(demands)

    async def close(self) -> None:
        await self._batcher.close()
        await disconnect(self._client)

    async def send(self, batch: Batch) -> Sequence[LimitVerdict]:
        """Decide a batch in one call, without waiting for others. Raise StoreUnavailable."""
        keys = [PREFIX + demand.key for demands in batch for demand in demands]
        # One JSON argument costs a fifth of a thousand arguments.
        asked = orjson.dumps(
            [
                [
                    (d.kind, d.amount, d.size, d.per_s, int(d.ttl_s * 1000), d.holder)
                    for d in demands
                ]
                for demands in batch
            ]
        )
        async with answering_within(self._timeout_s):
            said = await self._evaluate(keys, asked)
        return _verdicts(said, batch)

    async def _evaluate(self, keys: list[str], asked: bytes) -> list[int]:
        if self._digest is not None:
            try:
                known: list[int] = await self._client.evalsha(self._digest, len(keys), *keys, asked)
                return known
            except NoScriptError:  # Redis was replaced or flushed
                pass
        self._digest = await self._client.script_load(_SCRIPT)
        loaded: list[int] = await self._client.evalsha(self._digest, len(keys), *keys, asked)
        return loaded


def _verdicts(said: list[int], batch: Batch) -> list[LimitVerdict]:
    verdicts = []
    place = 0
    for demands in batch:
        refused, place = said[place], place + 1
        end = place + 2 * len(demands)
        levels = tuple(Level(said[i], said[i + 1] / 1e6) for i in range(place, end, 2))
        verdicts.append(LimitVerdict(levels, None if refused < 0 else refused))
        place = end
    return verdicts
