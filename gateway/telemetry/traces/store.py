"""The local store: kept requests, usage by day, and metrics by minute, in a SQLite file.

A thread of the admin process writes. An error is reported once, counted, and followed by a retry.
No other code waits for the thread. `reader.py` reads at the same time (WAL).
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from gateway.store.sqlite_file import open_private, prepare, why
from gateway.telemetry.metrics.minute import Minute
from gateway.telemetry.metrics.minutes import AGE_S
from gateway.telemetry.traces.silence import longest_silence_s
from gateway.telemetry.traces.store_schema import SCHEMA, VERSION, convert

_BACKLOG_BATCHES = 256
_RETRY_S = 10.0
_TIDY_S = 30.0
_TIDY_SHARE = 0.1
"""Share of the requests that is deleted in one step when the file is full."""
_BUSY_S = 2.0
_USAGE_SHARE = 0.5
"""Largest share of the file's size that usage takes."""
_USAGE_ROW_BYTES = 200
_LEAST_USAGE_ROWS = 1000
_BROKEN = ("malformed", "not a database")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records and tallies that a worker delivered together."""

    boot: str
    number: int
    records: Sequence[Row] = ()
    tallies: Sequence[Sequence[Any]] = ()
    """Rows from `TraceRecords`: route, model, tenant, subject, id of the API key, and counts."""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Retention:
    """Limits on the age of records and on the size of the file."""

    age_s: float = 7 * 86400.0
    size_bytes: int = 256 * 1024**2
    usage_age_s: float = 400 * 86400.0


@dataclass(slots=True)
class _State:
    lost: int = 0
    failing: bool = False
    retry_at: float = 0.0
    tidy_at: float = 0.0
    closing: bool = False
    idle: threading.Event = field(default_factory=threading.Event)


class TraceStore:
    """Writer of the file, with a thread of its own."""

    def __init__(
        self,
        path: Path,
        retention: Retention,
        report: Callable[[str | None], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`report` is called in that thread: with the reason when writing starts to fail, and with
        None when it works again.
        """
        self.path = path
        self._retention = retention
        self._report = report
        self._now = now
        self._queue: queue.Queue[Batch | Minute | None] = queue.Queue(_BACKLOG_BATCHES)
        self._state = _State()
        self._thread = threading.Thread(target=self._run, name="trace-store", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Number of records that were not written."""
        return self._state.lost

    def add(self, batch: Batch) -> None:
        """Queue a batch. Never blocks: if too much is waiting, the batch is dropped and counted."""
        try:
            self._queue.put_nowait(batch)
        except queue.Full:
            self._state.lost += len(batch.records)

    def add_minute(self, minute: Minute) -> None:
        """Queue the metrics of a minute. Never blocks: if too much is waiting, it is dropped."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(minute)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued is written or lost. Return False if that takes longer."""
        with contextlib.suppress(queue.Full):
            self._state.idle.clear()
            self._queue.put(None, timeout=timeout_s)
            return self._state.idle.wait(timeout_s)
        return False

    def close(self, timeout_s: float = 1.0) -> None:
        """Write the remaining batches, for at most `timeout_s` seconds."""
        self._state.closing = True
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        state = self._state
        db: sqlite3.Connection | None = None
        try:
            # Open now, for readers that come before the first write, and to report errors early.
            db = _opened(self.path)
        except (sqlite3.Error, OSError) as exc:
            if not _is_broken(exc):  # the next write replaces a broken file
                self._told(why(exc))
        while not (state.closing and self._queue.empty()):
            batches = self._next()
            if time.monotonic() >= state.retry_at:
                try:
                    if db is None:
                        db = _opened(self.path)
                    self._write(db, batches)
                    self._told(None)
                    batches = []
                except (sqlite3.Error, OSError) as exc:
                    if db is not None:
                        db.close()
                    db = None
                    if _is_broken(exc):
                        _set_aside(self.path)
                    state.retry_at = time.monotonic() + _RETRY_S
                    self._told(why(exc))
            state.lost += sum(len(one.records) for one in batches if isinstance(one, Batch))
            if self._queue.empty():
                state.idle.set()
        if db is not None:
            db.close()

    def _next(self) -> list[Batch | Minute]:
        """Return everything that waits. Wait for the first, until the next tidy-up at most."""
        found: list[Batch | Minute | None] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._queue.get(timeout=_TIDY_S))
            while True:
                found.append(self._queue.get_nowait())
        return [one for one in found if one is not None]

    def _told(self, why: str | None) -> None:
        failing = why is not None
        if failing != self._state.failing:
            self._state.failing = failing
            self._report(why)

    def _write(self, db: sqlite3.Connection, batches: Sequence[Batch | Minute]) -> None:
        with db:
            db.execute("BEGIN IMMEDIATE")
            for one in batches:
                if isinstance(one, Minute):
                    row = (one.at, one.dump())
                    db.execute("INSERT OR REPLACE INTO minutes VALUES (?, ?)", row)
                elif self._is_new(db, one):
                    _insert(db, one)
        if time.monotonic() >= self._state.tidy_at:
            self._state.tidy_at = time.monotonic() + _TIDY_S
            tidy(db, self._retention, self._now())

    def _is_new(self, db: sqlite3.Connection, batch: Batch) -> bool:
        """True if the batch was not written before. Workers repeat unacknowledged batches."""
        changed = db.execute(
            "INSERT INTO batches VALUES (?, ?, ?) ON CONFLICT (boot) DO UPDATE "
            "SET number = excluded.number, at = excluded.at WHERE number < excluded.number",
            (batch.boot, batch.number, batch.at),
        )
        return changed.rowcount > 0


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file, and migrate it if necessary. Raise OSError or sqlite3.Error."""
    convert(path, _BUSY_S)
    db = open_private(path, timeout_s=_BUSY_S)  # private, because it tells who asked what
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"{path} was written by another version of the gateway")
        prepare(db, SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _is_broken(exc: Exception) -> bool:
    return any(word in str(exc) for word in _BROKEN)


def _set_aside(path: Path) -> None:
    """Rename a file that is unreadable, so that a new one can be created."""
    with contextlib.suppress(OSError):
        path.replace(path.with_name(path.name + ".broken"))
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)


def _insert(db: sqlite3.Connection, batch: Batch) -> None:
    db.executemany(
        f"INSERT OR REPLACE INTO requests VALUES (NULL{', ?' * 20})",  # noqa: S608 -- question marks
        [
            (
                *(one["trace"], one["span"], one["request_id"], one["at"], one["s"]),
                *(one.get("ttft_s"), one.get("route"), one.get("served") or one.get("model")),
                *(one.get("tenant") or one.get("subject"), one.get("status"), one.get("end")),
                *(one.get("error"), one["kept"], orjson.dumps(one).decode(), one.get("model")),
                *(one.get("subject"), one.get("upstream"), one.get("tokens_out")),
                *(one.get("stream"), longest_silence_s(one)),
            )
            for one in batch.records
        ],
    )
    day = datetime.fromtimestamp(batch.at, UTC).date().isoformat()
    db.executemany(
        _ADD_USAGE,
        [
            # A worker of an earlier version tells no team and no tags.
            {
                "day": day,
                "last": batch.at,
                "team": "",
                "tags": "",
                **dict(zip(_TALLY, row, strict=False)),
            }
            for row in batch.tallies
        ],
    )


_SUMS = (
    *("requests", "errors", "limited", "counted", "tokens_in", "tokens_out", "cached"),
    "cost",
)
_TALLY = ("route", "model", "tenant", "subject", "key", *_SUMS, "currency", "team", "tags")
_NAMED = "subject <> '' OR key <> '' OR tags <> ''"
"""Condition for rows of single callers."""
_ADDED = ", ".join(
    [
        *(f"{name} = {name} + excluded.{name}" for name in _SUMS),
        # `max` of SQLite is NULL if an argument is.
        "last = max(coalesce(last, excluded.last), coalesce(excluded.last, last))",
    ]
)
_ADD_USAGE = (
    "INSERT INTO usage VALUES (:day, :tenant, :subject, :key, :route, :model, :currency, "  # noqa: S608 -- names are ours
    ":requests, :errors, :limited, :counted, :tokens_in, :tokens_out, :cached, :cost, :last, "
    ":team, :tags) "
    f"ON CONFLICT DO UPDATE SET {_ADDED}"
)


def tidy(db: sqlite3.Connection, retention: Retention, now: float) -> None:
    """Delete what is too old, then the oldest requests until the file is small enough."""
    db.execute("DELETE FROM requests WHERE at < ?", (now - retention.age_s,))
    oldest = datetime.fromtimestamp(now, UTC) - timedelta(seconds=retention.usage_age_s)
    db.execute("DELETE FROM usage WHERE day < ?", (oldest.date().isoformat(),))
    db.execute("DELETE FROM batches WHERE at < ?", (now - 7 * 86400.0,))
    db.execute("DELETE FROM minutes WHERE at < ?", (now - AGE_S,))
    most = int(retention.size_bytes * _USAGE_SHARE / _USAGE_ROW_BYTES)
    _bound_usage(db, max(most, _LEAST_USAGE_ROWS))
    while _used_bytes(db) > retention.size_bytes:
        (count,) = db.execute("SELECT count(*) FROM requests").fetchone()
        if not count:
            break
        db.execute(
            "DELETE FROM requests WHERE id IN (SELECT id FROM requests ORDER BY at LIMIT ?)",
            (max(1, int(count * _TIDY_SHARE)),),
        )
    db.executescript("PRAGMA incremental_vacuum;")  # `execute` frees only one page


def _bound_usage(db: sqlite3.Connection, most: int) -> None:
    """Reduce the rows of usage to `most`: the oldest days lose their callers, then go."""
    while db.execute("SELECT count(*) FROM usage").fetchone()[0] > most:
        with db:
            db.execute("BEGIN IMMEDIATE")
            (day,) = db.execute(
                f"SELECT min(day) FROM usage WHERE {_NAMED}"  # noqa: S608 -- the condition is ours
            ).fetchone()
            if day is None:
                db.execute("DELETE FROM usage WHERE day = (SELECT min(day) FROM usage)")
                continue
            db.execute(
                "INSERT INTO usage SELECT day, tenant, '', '', route, model, currency, "  # noqa: S608 -- names are ours
                f"{', '.join(f'sum({name})' for name in _SUMS)}, max(last), team, '' FROM usage "
                f"WHERE day = ? AND ({_NAMED}) "
                "GROUP BY day, tenant, team, route, model, currency "
                f"ON CONFLICT DO UPDATE SET {_ADDED}",
                (day,),
            )
            db.execute(f"DELETE FROM usage WHERE day = ? AND ({_NAMED})", (day,))  # noqa: S608


def _used_bytes(db: sqlite3.Connection) -> int:
    pages, free, size = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
