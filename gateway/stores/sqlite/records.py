"""Records in a SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.store.records import CHANGES_CAP, Changes, StoreUnavailable
from gateway.store.sqlite_file import open_private, prepare

Result = TypeVar("Result")

TIMEOUT_S = 1.0
"""Time that a call waits for another process that holds the file."""
_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=NORMAL;
CREATE TABLE IF NOT EXISTS records
    (kind TEXT, key TEXT, value BLOB, until REAL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (kind TEXT PRIMARY KEY, version INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes
    (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, key TEXT, UNIQUE (kind, key));
CREATE INDEX IF NOT EXISTS changes_of_kind ON changes (kind, number);
CREATE TRIGGER IF NOT EXISTS put AFTER INSERT ON records BEGIN
    INSERT OR REPLACE INTO changes (kind, key) VALUES (new.kind, new.key);
END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON records BEGIN
    DELETE FROM changes WHERE kind = old.kind AND key = old.key;
END;
"""
# Triggers note the changes, so that those of an earlier version of the gateway are noted, too.


class SqliteRecords:
    """Records shared by all processes that use a file. A thread waits for locks and the disk."""

    def __init__(self, path: Path) -> None:
        """Raise OSError or sqlite3.Error if the file cannot be created or opened."""
        self._db = open_private(path, timeout_s=TIMEOUT_S, check_same_thread=False)
        prepare(self._db, _SCHEMA)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="records")

    async def put(self, kind: str, key: str, value: bytes, ttl_s: float | None = None) -> None:
        now = time.time()
        until = None if ttl_s is None else now + ttl_s

        def put(db: sqlite3.Connection) -> None:
            with _writing(db):
                _put(db, now, kind, key, value, until)

        await self._run(put)

    async def replace(self, kind: str, key: str, before: bytes | None, value: bytes) -> bool:
        now = time.time()

        def replace(db: sqlite3.Connection) -> bool:
            with _writing(db):
                if _get(db, now, kind, key) != before:
                    return False
                _put(db, now, kind, key, value, None)
                return True

        return await self._run(replace)

    async def take(self, kind: str, key: str) -> bytes | None:
        row = await self._run(
            lambda db: db.execute(
                "DELETE FROM records WHERE kind = ? AND key = ? RETURNING value, until", (kind, key)
            ).fetchone()
        )
        if row is None or (row[1] is not None and row[1] <= time.time()):
            return None
        return bytes(row[0])

    async def all(self, kind: str) -> Mapping[str, bytes]:
        rows = await self._run(
            lambda db: db.execute(
                "SELECT key, value FROM records WHERE kind = ? AND (until IS NULL OR until > ?)",
                (kind, time.time()),
            ).fetchall()
        )
        return {key: bytes(value) for key, value in rows}

    async def get(self, kind: str, key: str) -> bytes | None:
        return await self._run(lambda db: _get(db, time.time(), kind, key))

    async def page(self, kind: str, after: str, limit: int) -> Mapping[str, bytes]:
        rows = await self._run(
            lambda db: db.execute(
                "SELECT key, value FROM records WHERE kind = ? AND key > ? AND until IS NULL "
                "ORDER BY key LIMIT ?",
                (kind, after, limit),
            ).fetchall()
        )
        return {key: bytes(value) for key, value in rows}

    async def changes(self, kind: str, since: str | None) -> Changes:
        number = -1 if since is None else int(since)

        def read(db: sqlite3.Connection) -> tuple[list[tuple[int, str]], int]:
            rows = db.execute(
                "SELECT number, key FROM changes WHERE kind = ? AND number > ? "
                "ORDER BY number LIMIT ?",
                (kind, number, CHANGES_CAP + 1 if since is not None else 0),
            ).fetchall()
            (last,) = db.execute(
                "SELECT max(number) FROM changes WHERE kind = ?", (kind,)
            ).fetchone()
            return rows, last or 0

        rows, last = await self._run(read)
        if since is None or len(rows) > CHANGES_CAP:
            return Changes(str(last), None)
        return Changes(str(rows[-1][0] if rows else number), [key for _, key in rows])

    async def version(self, kind: str) -> str:
        row = await self._run(
            lambda db: db.execute("SELECT version FROM versions WHERE kind = ?", (kind,)).fetchone()
        )
        return str(row[0]) if row else ""

    async def close(self) -> None:
        self._thread.shutdown()
        self._db.close()

    async def _run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a function in the thread. Raise StoreUnavailable."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work, self._db)
        except sqlite3.Error as exc:
            raise StoreUnavailable(str(exc)) from exc


@contextlib.contextmanager
def _writing(db: sqlite3.Connection) -> Iterator[None]:
    """Run statements in one exclusive transaction."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        yield


def _get(db: sqlite3.Connection, now: float, kind: str, key: str) -> bytes | None:
    row = db.execute(
        "SELECT value FROM records WHERE kind = ? AND key = ? AND (until IS NULL OR until > ?)",
        (kind, key, now),
    ).fetchone()
    return None if row is None else bytes(row[0])


def _put(
    db: sqlite3.Connection, now: float, kind: str, key: str, value: bytes, until: float | None
) -> None:
    db.execute("DELETE FROM records WHERE until <= ?", (now,))
    db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", (kind, key, value, until))
    db.execute(
        "INSERT INTO versions VALUES (?, 1) ON CONFLICT (kind) DO UPDATE SET version = version + 1",
        (kind,),
    )
