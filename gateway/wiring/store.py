"""Construction of the stores from the `store` section: one for limits, and one for records."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limits.errors import ConfigurationError

from gateway.config import Config, models
from gateway.config.problems import Fault
from gateway.limiting.guard import GuardedStore
from gateway.limiting.memory_store import MemoryStore
from gateway.limiting.sqlite_store import SqliteStore
from gateway.limiting.store import Store
from gateway.store.memory_records import MemoryRecords
from gateway.store.records import Records
from gateway.store.sqlite_file import why
from gateway.store.sqlite_records import SqliteRecords


@dataclass(frozen=True, slots=True)
class Stores:
    """Open stores for limits and records."""

    limits: GuardedStore
    records: Records

    async def close(self) -> None:
        """Close both stores."""
        await self.limits.close()
        await self.records.close()


def stores(
    config: Config,
    folder: Path | None,
    report: Callable[[str, str], None],
    faults: list[Fault],
) -> Stores | None:
    """Open the stores. Return None if they cannot be opened; the reason is added to `faults`.
    `report` is called when the state of the store's circuit breaker changes.

    With several workers, which share a `folder`, `memory://` means an SQLite file in that folder.
    """
    options = config.store
    if folder is not None and options.url == "memory://":
        options = models.Store(url=f"sqlite://{folder / 'store.db'}")
    try:
        limits, records = _limits(options), open_records(options)
    except (OSError, sqlite3.Error, ConfigurationError, ValueError) as exc:
        faults.append((("store", "url"), f"cannot be used: {why(exc)}"))
        return None
    return Stores(GuardedStore(limits, report=report), records)


def _limits(options: models.Store) -> Store:
    scheme, url, path = store_parts(options)
    if scheme == "memory":
        return MemoryStore()
    if scheme == "sqlite":
        return SqliteStore(path)
    # Imported only if it is used, since importing redis-py takes 0.1 s.
    from gateway.limiting.redis_store import RedisStore

    return RedisStore(url)


def open_records(options: models.Store) -> Records:
    """Open the store for records. Raise OSError, sqlite3.Error, ConfigurationError or
    ValueError.
    """
    scheme, url, path = store_parts(options)
    if scheme == "memory":
        return MemoryRecords()
    if scheme == "sqlite":
        return SqliteRecords(path)
    from gateway.store.redis_records import RedisRecords

    return RedisRecords(url)


def store_parts(options: models.Store) -> tuple[str, str, Path]:
    """Return the scheme of the store's URL, the whole URL, and the path if the store is a file."""
    url = options.url if isinstance(options.url, str) else options.url.reveal().decode()
    scheme, _, rest = url.partition("://")
    return scheme, url, Path(rest)
