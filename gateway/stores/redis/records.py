"""Records in Redis, shared by replicas."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.store.records import CHANGES_CAP, Changes
from gateway.stores.redis.client import PREFIX, answering_within, connect, disconnect

_TIMEOUT_S = 1.0
_PUT = Path(__file__).with_name("put_record.lua").read_text()
_PAGE = Path(__file__).with_name("record_page.lua").read_text()
_CHANGES = Path(__file__).with_name("record_changes.lua").read_text()


class RedisRecords:
    """Records shared by all gateways that use a Redis."""

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Raise ValueError if the URL is not usable."""
        self._client: Any = connect(url, timeout_s)
        self._timeout_s = timeout_s

    async def put(self, kind: str, key: str, value: bytes, ttl_s: float | None = None) -> None:
        ttl_ms = 0 if ttl_s is None else max(1, int(ttl_s * 1000))
        await self._put(kind, key, value, ttl_ms, 0)

    async def replace(self, kind: str, key: str, before: bytes | None, value: bytes) -> bool:
        return await self._put(kind, key, value, 0, 1, int(before is not None), before or b"")

    async def _put(self, kind: str, key: str, value: bytes, ttl_ms: int, *compared: object) -> bool:
        async with answering_within(self._timeout_s):
            keys = (_record(kind, key), _index(kind), *_feed(kind))
            given = (key, value, ttl_ms, CHANGES_CAP, *compared)
            stored: int = await self._client.eval(_PUT, len(keys), *keys, *given)
        return bool(stored)

    async def take(self, kind: str, key: str) -> bytes | None:
        async with answering_within(self._timeout_s):
            value: bytes | None = await self._client.getdel(_record(kind, key))
            if value is not None:
                await self._client.zrem(_index(kind), key)
        return value

    async def all(self, kind: str) -> Mapping[str, bytes]:
        async with answering_within(self._timeout_s):
            found: list[bytes] = await self._client.zrangebyscore(
                _index(kind), f"({time.time() * 1000:.0f}", "+inf"
            )
            keys = [key.decode() for key in found]
            values = await self._client.mget([_record(kind, key) for key in keys]) if keys else []
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    async def get(self, kind: str, key: str) -> bytes | None:
        async with answering_within(self._timeout_s):
            value: bytes | None = await self._client.get(_record(kind, key))
        return value

    async def page(self, kind: str, after: str, limit: int) -> Mapping[str, bytes]:
        async with answering_within(self._timeout_s):
            found: list[bytes] = await self._client.eval(_PAGE, 1, _index(kind), after, limit)
            keys = [key.decode() for key in found]
            values = await self._client.mget([_record(kind, key) for key in keys]) if keys else []
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    async def changes(self, kind: str, since: str | None) -> Changes:
        async with answering_within(self._timeout_s):
            keys = _feed(kind)
            mark, is_known, changed = await self._client.eval(
                _CHANGES, len(keys), *keys, since or ""
            )
        return Changes(mark.decode(), [key.decode() for key in changed] if is_known else None)

    async def version(self, kind: str) -> str:
        async with answering_within(self._timeout_s):
            version: bytes | None = await self._client.get(_version(kind))
        return (version or b"").decode()

    async def close(self) -> None:
        await disconnect(self._client)


def _record(kind: str, key: str) -> str:
    return f"{PREFIX}record:{kind}:{key}"


def _index(kind: str) -> str:
    return f"{PREFIX}index:{kind}"


def _version(kind: str) -> str:
    return f"{PREFIX}version:{kind}"


def _feed(kind: str) -> tuple[str, str, str]:
    """Return the keys of a kind's version, of its changed records, and of the state of these."""
    return _version(kind), f"{PREFIX}changed:{kind}", f"{PREFIX}changes:{kind}"
