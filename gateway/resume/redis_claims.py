"""What Idempotency-Keys stand for, in Redis: of all who send one, on whatever replica, one wins."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from gateway.resume import redis_keys as keys
from gateway.resume.claims import Claim
from gateway.store.records import StoreUnavailable

_CLAIM_S = 15.0
"""How long a key is held, unless whoever holds it says again that it does."""
_BODY_BYTES = 16
_DROP = """
local held = redis.call("GET", KEYS[1])
if held and string.sub(held, 17) == ARGV[1] then redis.call("DEL", KEYS[1]) end
"""


class RedisClaims:
    """What Idempotency-Keys stand for, known to all replicas."""

    def __init__(
        self,
        client: Any,
        reachable: Callable[[], AbstractAsyncContextManager[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """`reachable` bounds the time of a call, and raises StoreUnavailable; `spawn` has something
        done that nobody waits for.
        """
        self._client = client
        self._reachable = reachable
        self._spawn = spawn
        self._held: dict[bytes, str] = {}
        self._renewed_at = 0.0

    async def take(self, key: bytes, claim: Claim) -> Claim:
        name, value = keys.claim(key), claim.body + claim.stream.encode()
        client = self._client
        async with self._reachable():
            while True:
                if await client.set(name, value, nx=True, px=int(_CLAIM_S * 1000)):
                    self._held[key] = claim.stream
                    return claim
                found: bytes | None = await client.get(name)
                if found is not None:
                    return _claim(found)

    async def find(self, key: bytes) -> Claim | None:
        async with self._reachable():
            found: bytes | None = await self._client.get(keys.claim(key))
        return None if found is None else _claim(found)

    def drop(self, key: bytes, stream: str) -> None:
        if self._held.get(key) == stream:
            del self._held[key]
        self._spawn(self._drop(key, stream))

    async def renew(self) -> None:
        """Hold on to what is held. Raise StoreUnavailable."""
        now = time.monotonic()
        if not self._held or now - self._renewed_at < _CLAIM_S / 3:
            return
        pipeline = self._client.pipeline(transaction=False)
        for key in self._held:
            pipeline.execute_command("PEXPIRE", keys.claim(key), int(_CLAIM_S * 1000))
        async with self._reachable():
            await pipeline.execute()
        self._renewed_at = now

    async def _drop(self, key: bytes, stream: str) -> None:
        try:
            async with self._reachable():
                await self._client.eval(_DROP, 1, keys.claim(key), stream)
        except StoreUnavailable:
            pass  # it expires by itself


def _claim(held: bytes) -> Claim:
    return Claim(held[:_BODY_BYTES], held[_BODY_BYTES:].decode())
