"""What the `store` section asks for: where limits are counted, and where records are kept."""

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
    """Both, open."""

    limits: GuardedStore
    records: Records

    async def close(self) -> None:
        """Let go of them."""
        await self.limits.close()
        await self.records.close()


def stores(
    config: Config,
    folder: Path | None,
    report: Callable[[str, str], None],
    faults: list[Fault],
) -> Stores | None:
    """The stores; `report` is told of the breaker's changes. What cannot be opened is added to
    `faults`.

    With several workers, who share a `folder`, the memory they have together is a file in it.
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
    # Imported where it is asked for: redis-py takes a tenth of a second of every start.
    from gateway.limiting.redis_store import RedisStore

    return RedisStore(url)


def open_records(options: models.Store) -> Records:
    """The records alone. Raise OSError, sqlite3.Error, ConfigurationError or ValueError."""
    scheme, url, path = store_parts(options)
    if scheme == "memory":
        return MemoryRecords()
    if scheme == "sqlite":
        return SqliteRecords(path)
    from gateway.store.redis_records import RedisRecords

    return RedisRecords(url)


def store_parts(options: models.Store) -> tuple[str, str, Path]:
    """The scheme of its URL, all of it, and the path if it is a file's."""
    url = options.url if isinstance(options.url, str) else options.url.reveal().decode()
    scheme, _, rest = url.partition("://")
    return scheme, url, Path(rest)
