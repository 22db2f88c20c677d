"""Records in the memory of this process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

from gateway.store.records import CHANGES_CAP, Changes

_SWEEP_SIZE = 1024


class MemoryRecords:
    """Records of a single process. They are lost when it ends."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._values: dict[tuple[str, str], tuple[bytes, float]] = {}
        self._versions: Counter[str] = Counter()
        self._changed: dict[str, dict[str, int]] = {}
        """Version of the last change of each key, the newest last, by kind."""
        self._sweep_size = _SWEEP_SIZE

    async def put(self, kind: str, key: str, value: bytes, ttl_s: float | None = None) -> None:
        now = self._now()
        if len(self._values) >= self._sweep_size:
            # Drop what has expired. Amortised over as many new records.
            self._values = {place: held for place, held in self._values.items() if held[1] > now}
            self._sweep_size = max(_SWEEP_SIZE, 2 * len(self._values))
        self._values[kind, key] = (value, float("inf") if ttl_s is None else now + ttl_s)
        self._versions[kind] += 1
        changed = self._changed.setdefault(kind, {})
        changed.pop(key, None)
        changed[key] = self._versions[kind]
        if len(changed) > CHANGES_CAP:
            del changed[next(iter(changed))]

    async def replace(self, kind: str, key: str, before: bytes | None, value: bytes) -> bool:
        if await self.get(kind, key) != before:
            return False
        await self.put(kind, key, value)
        return True

    async def take(self, kind: str, key: str) -> bytes | None:
        value, until = self._values.pop((kind, key), (None, 0.0))
        return value if until > self._now() else None

    async def all(self, kind: str) -> Mapping[str, bytes]:
        now = self._now()
        return {
            key: value
            for (its_kind, key), (value, until) in self._values.items()
            if its_kind == kind and until > now
        }

    async def get(self, kind: str, key: str) -> bytes | None:
        value, until = self._values.get((kind, key), (None, 0.0))
        return value if until > self._now() else None

    async def page(self, kind: str, after: str, limit: int) -> Mapping[str, bytes]:
        found = {
            key: value
            for (its_kind, key), (value, until) in self._values.items()
            if its_kind == kind and key > after and until == float("inf")
        }
        return {key: found[key] for key in sorted(found)[:limit]}

    async def changes(self, kind: str, since: str | None) -> Changes:
        version = self._versions[kind]
        if since is None or not version - CHANGES_CAP <= int(since) <= version:
            return Changes(str(version), None)
        changed = self._changed.get(kind, {})
        return Changes(str(version), [key for key, at in changed.items() if at > int(since)])

    async def version(self, kind: str) -> str:
        return str(self._versions[kind])

    async def close(self) -> None:
        pass

    def __len__(self) -> int:
        return len(self._values)
