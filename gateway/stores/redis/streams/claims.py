"""Claims in Redis: of all requests with an Idempotency-Key, on any replica, one gets the key."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from gateway.resume.claims import Claim
from gateway.store.records import StoreUnavailable
from gateway.stores.redis.streams import keys

_CLAIM_S = 15.0
"""Time for which a key is held without renewal by its holder."""
_BODY_BYTES = 16
_DROP = """
local held = redis.call("GET", KEYS[1])
if held and string.sub(held, 17) == ARGV[1] then redis.call("DEL", KEYS[1]) end
"""


class RedisClaims:
    """Claims by Idempotency-Key, shared by all replicas."""

    def __init__(
        self,
        client: Any,
        reachable: Callable[[], AbstractAsyncContextManager[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`reachable` limits a call's time and raises StoreUnavailable; `spawn` runs a task."""
        self._client = client
        self._reachable = reachable
        self._spawn = spawn
        self._held: dict[bytes, Claim] = {}
        self._waiting: dict[bytes, Claim] = {}
        """Claims that Redis does not know yet, or has lost."""
        self._renewed_at = 0.0

    async def take(self, key: bytes, claim: Claim) -> Claim:
        if (waiting := self._waiting.get(key)) is not None:
            return waiting
        name, value = keys.claim(key), _value(claim)
        client = self._client
        async with self._reachable():
            while True:
                if await client.set(name, value, nx=True, px=int(_CLAIM_S * 1000)):
                    self._held[key] = claim
                    return claim
                found: bytes | None = await client.get(name)
                if found is not None:
                    return _claim(found)

    def hold(self, key: bytes, claim: Claim) -> Claim:
        return self._waiting.setdefault(key, claim)

    async def find(self, key: bytes) -> Claim | None:
        if (waiting := self._waiting.get(key)) is not None:
            return waiting
        async with self._reachable():
            found: bytes | None = await self._client.get(keys.claim(key))
        return None if found is None else _claim(found)

    def drop(self, key: bytes, stream: str) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None and waiting.stream == stream:
            del self._waiting[key]
            return
        held = self._held.get(key)
        if held is not None and held.stream == stream:
            del self._held[key]
        self._spawn(self._drop(key, stream))

    def doubt(self) -> None:
        """Renew the claims next time in any case: Redis may have lost some."""
        self._renewed_at = 0.0

    async def renew(self) -> None:
        """Renew the claims held by this process, and write those that Redis does not know. Raise
        StoreUnavailable.
        """
        for key, claim in [*self._waiting.items()]:
            await self._take_late(key, claim)
        now = time.monotonic()
        if not self._held or now - self._renewed_at < _CLAIM_S / 3:
            return
        pipeline = self._client.pipeline(transaction=False)
        held = [*self._held.items()]
        for key, _ in held:
            pipeline.execute_command("PEXPIRE", keys.claim(key), int(_CLAIM_S * 1000))
        async with self._reachable():
            found = await pipeline.execute()
        self._renewed_at = now
        for (key, claim), is_there in zip(held, found, strict=True):
            if not is_there and self._held.get(key) == claim:
                del self._held[key]
                self._waiting[key] = claim
                await self._take_late(key, claim)

    async def _take_late(self, key: bytes, claim: Claim) -> None:
        """Write a claim, unless another process holds the key. Raise StoreUnavailable."""
        life_ms = int(_CLAIM_S * 1000)
        name, value = keys.claim(key), _value(claim)
        async with self._reachable():
            taken = await self._client.set(name, value, nx=True, px=life_ms)
            # A `take` whose reply was lost may have written it.
            taken = taken or await self._client.get(name) == value
        if self._waiting.pop(key, None) is None:
            if taken:
                self._spawn(self._drop(key, claim.stream))  # it was dropped meanwhile
        elif taken:
            self._held[key] = claim

    async def _drop(self, key: bytes, stream: str) -> None:
        try:
            async with self._reachable():
                await self._client.eval(_DROP, 1, keys.claim(key), stream)
        except StoreUnavailable:
            pass  # the claim expires by itself


def _value(claim: Claim) -> bytes:
    return claim.body + claim.stream.encode()


def _claim(held: bytes) -> Claim:
    return Claim(held[:_BODY_BYTES], held[_BODY_BYTES:].decode())
