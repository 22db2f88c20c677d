"""Reading and writing the API keys of one provider, wherever they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from gateway.auth import stored_keys
from gateway.auth.api_key import ApiKey, generate
from gateway.auth.key_file import editing, read
from gateway.store.records import Records


class KeyRegister(Protocol):
    """Keys of one provider. Methods raise BadKeyFile, StoreUnavailable, or OSError."""

    async def all(self) -> Mapping[str, ApiKey]:
        """Return the keys by id, oldest first."""

    async def put(self, *keys: ApiKey) -> None:
        """Store new or changed keys."""


class FileRegister:
    """Keys in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def all(self) -> Mapping[str, ApiKey]:
        return await asyncio.to_thread(read, self._path)

    async def put(self, *keys: ApiKey) -> None:
        await asyncio.to_thread(self._put, keys)

    def _put(self, keys: tuple[ApiKey, ...]) -> None:
        with editing(self._path) as known:
            known.update((key.id, key) for key in keys)


class StoreRegister:
    """Keys in the store, for replicas that do not share a file. It is opened for each call."""

    def __init__(self, open_records: Callable[[], Records], provider: str) -> None:
        self._open_records = open_records
        self._provider = provider

    async def all(self) -> Mapping[str, ApiKey]:
        records = self._open_records()
        try:
            keys, _ = stored_keys.parse(await records.all(stored_keys.kind_of(self._provider)))
        finally:
            await records.close()
        return dict(sorted(keys.items(), key=lambda item: item[1].created))

    async def put(self, *keys: ApiKey) -> None:
        records = self._open_records()
        try:
            for key in keys:
                await stored_keys.put(records, self._provider, key)
        finally:
            await records.close()


def rotated(old: ApiKey, now: datetime, overlap: timedelta) -> tuple[str, ApiKey, ApiKey]:
    """Replace a key: return the new secret, its key, and the old key, which expires after the
    overlap. The new key has the settings of the old one, and its lifetime from now on.
    """
    secret, key_id, salt, digest = generate()
    lifetime = None if old.expires is None else old.expires - old.created
    new = replace(
        old,
        id=key_id,
        salt=salt,
        hash=digest,
        created=now,
        expires=None if lifetime is None else now + lifetime,
        revoked=None,
    )
    ends = now + overlap if old.expires is None else min(old.expires, now + overlap)
    return secret, new, replace(old, expires=ends)
