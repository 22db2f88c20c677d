"""Answers in Redis, shared by all replicas, within one cap in bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from gateway.response_cache.store import AnswerLabels, AnswerLeads
from gateway.stores.redis.answer_leads import RedisAnswerLeads
from gateway.stores.redis.client import PREFIX, answering, connect, disconnect

_TIMEOUT_S = 0.5
"""Time for a call. A request waits no longer than this for a store that hangs."""
_REMOVAL_S = 10.0
_BATCH = 500
_ENTRY_BYTES = 700
"""Memory of an entry beside its value, about."""
_VALUES = f"{PREFIX}answer:"
_KEYS = tuple(f"{PREFIX}answers:{name}" for name in ("used", "ends", "about", "bytes"))
_USED, _, _ABOUT, _ = _KEYS
_PUT = Path(__file__).with_name("put_answer.lua").read_text()
_REMOVE = Path(__file__).with_name("remove_answers.lua").read_text()


class RedisAnswers:
    """Answers shared by all gateways that use a Redis."""

    is_shared = True

    def __init__(self, url: str, cap_bytes: int, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Raise ValueError if the URL is not usable."""
        self._client: Any = connect(url, timeout_s)
        self.leads: AnswerLeads | None = RedisAnswerLeads(self._client, timeout_s)
        self._cap_bytes = cap_bytes
        self._timeout_s = timeout_s
        self.size_bytes = 0
        self.evicted = 0

    async def get(self, key: str) -> bytes | None:
        async with self._reachable(self._timeout_s):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.get(_VALUES + key)
            pipeline.zadd(_USED, {key: round(time.time() * 1e6)}, xx=True)
            value: bytes | None = (await pipeline.execute())[0]
        return value

    async def put(self, key: str, value: bytes, labels: AnswerLabels, ttl_s: float) -> None:
        about = json.dumps([labels.route, labels.model, labels.tenant])
        size, ttl_ms = len(value) + _ENTRY_BYTES, max(1, int(ttl_s * 1000))
        async with self._reachable(self._timeout_s):
            self.size_bytes, evicted = await self._client.eval(
                *(_PUT, len(_KEYS), *_KEYS),
                *(_VALUES, key, value, ttl_ms, size, about, self._cap_bytes),
            )
        self.evicted += evicted

    async def remove(self, wanted: AnswerLabels) -> int:
        removed = 0
        async with self._reachable(_REMOVAL_S):
            await self._client.ping()  # initialises the client of a Cluster
            found = [
                name
                async for name, about in self._client.hscan_iter(_ABOUT, count=_BATCH)
                if AnswerLabels(*json.loads(about.partition(b" ")[2])).matches(wanted)
            ]
            for start in range(0, len(found), _BATCH):
                names = found[start : start + _BATCH]
                gone, self.size_bytes = await self._client.eval(
                    _REMOVE, len(_KEYS), *_KEYS, _VALUES, *names
                )
                removed += gone
        return removed

    async def close(self) -> None:
        await disconnect(self._client)

    @contextlib.asynccontextmanager
    async def _reachable(self, timeout_s: float) -> AsyncIterator[None]:
        """Limit the time of a call. Raise StoreUnavailable for every kind of failure."""
        with answering():
            async with asyncio.timeout(timeout_s):
                yield
