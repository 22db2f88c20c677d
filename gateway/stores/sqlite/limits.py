"""Limit store in a SQLite file, shared by the processes of one machine.

Reasons for SQLite: it comes with Python, locks across processes, releases the lock of a killed
process and keeps budgets over a restart. It is also cheap: a decision is one short transaction of
about 20 µs, which takes along what was posted before it. While another process holds the lock, the
requests of one turn of the event loop share one transaction. Commits are not synced to the disk, so
a power failure may lose the last moments. The end of a process loses nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.limiting.batch import Batch, Batcher
from gateway.limiting.demand import Demand, LimitVerdict
from gateway.limiting.gcra import decide
from gateway.store.records import StoreUntouched
from gateway.store.sqlite_file import open_private, prepare

TIMEOUT_S = 1.0
"""Longest wait for the lock, in seconds. On a busy machine, a process may be kept from running for
100 ms while it holds the lock. Without the file, each worker would count on its own.
"""
_RETRY_S = 0.0005
_SWEEP_S = 60.0
_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=OFF;
CREATE TABLE IF NOT EXISTS buckets (key TEXT PRIMARY KEY, full_at REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slots (key TEXT, holder TEXT, until REAL, PRIMARY KEY (key, holder))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS budgets (key TEXT PRIMARY KEY, spent REAL, until REAL) WITHOUT ROWID;
"""


def _since_2025() -> float:
    """Return the system time in seconds since 2025. Smaller numbers have finer steps (15 ns)."""
    return time.time() - 1_735_689_600.0


class SqliteLimits:
    """Exact limits for all processes that share a file."""

    def __init__(self, path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        """Raise OSError or sqlite3.Error if the file cannot be created or opened."""
        # `_send` waits for the lock, because SQLite's own waiting would block the event loop.
        self._db = open_private(path, timeout_s=0.0)
        prepare(self._db, "PRAGMA busy_timeout=1000;" + _SCHEMA + "PRAGMA busy_timeout=0;")
        self._timeout_s = timeout_s
        self._swept_at = _since_2025()
        self._turn = asyncio.Lock()
        """Held by the call that tries to get the file's lock. The others wait behind it."""
        self._batcher = Batcher(self._send, self._send_now)

    def decide_now(self, demands: Sequence[Demand]) -> LimitVerdict | None:
        return self._batcher.decide_now(demands)

    async def decide(self, demands: Sequence[Demand]) -> LimitVerdict:
        return await self._batcher.decide(demands)

    def post(self, demands: Sequence[Demand]) -> None:
        self._batcher.post(demands)

    async def close(self) -> None:
        await self._batcher.close()
        self._db.close()

    async def _send(self, batch: Batch) -> Sequence[LimitVerdict]:
        """Decide as soon as no other process holds the lock. Raise StoreUntouched."""
        give_up_at = time.monotonic() + self._timeout_s
        async with self._turn:
            while True:
                try:
                    return self._transact(batch)
                except sqlite3.OperationalError as exc:
                    if "locked" not in str(exc) or time.monotonic() >= give_up_at:
                        raise StoreUntouched(f"SQLite: {exc}") from exc
                except sqlite3.Error as exc:
                    raise StoreUntouched(f"SQLite: {exc}") from exc
                await asyncio.sleep(_RETRY_S)

    def _send_now(self, batch: Batch) -> Sequence[LimitVerdict] | None:
        """Decide unless another process holds the lock. Return None for any failure, because
        `_send` waits for the lock and reports failures.
        """
        try:
            return self._transact(batch)
        except sqlite3.Error:
            return None

    def _transact(self, batch: Batch) -> list[LimitVerdict]:
        db, now = self._db, _since_2025()
        db.execute("BEGIN IMMEDIATE")
        try:
            verdicts = [decide(self, demands, now) for demands in batch]
            if now >= self._swept_at + _SWEEP_S:
                self._swept_at = now
                self._sweep(now)
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
        return verdicts

    def _sweep(self, now: float) -> None:
        """Drop entries without effect."""
        self._db.execute("DELETE FROM buckets WHERE full_at <= ?", (now,))
        self._db.execute("DELETE FROM slots WHERE until <= ?", (now,))
        self._db.execute("DELETE FROM budgets WHERE until <= ?", (now,))

    # -- the ledger ------------------------------------------------------------------------

    def full_at(self, key: str) -> float | None:
        row = self._db.execute("SELECT full_at FROM buckets WHERE key = ?", (key,)).fetchone()
        return float(row[0]) if row else None

    def set_full_at(self, key: str, when: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?)", (key, when))

    def held(self, key: str, now: float) -> int:
        (count,) = self._db.execute(
            "SELECT COUNT(*) FROM slots WHERE key = ? AND until > ?", (key, now)
        ).fetchone()
        return int(count)

    def first_expiry(self, key: str, now: float) -> float:
        (first,) = self._db.execute(
            "SELECT MIN(until) FROM slots WHERE key = ? AND until > ?", (key, now)
        ).fetchone()
        return float(first or 0.0)

    def hold(self, key: str, holder: str, until: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO slots VALUES (?, ?, ?)", (key, holder, until))

    def release(self, key: str, holder: str) -> None:
        self._db.execute("DELETE FROM slots WHERE key = ? AND holder = ?", (key, holder))

    def holds(self, key: str, holder: str) -> bool:
        row = self._db.execute(
            "SELECT 1 FROM slots WHERE key = ? AND holder = ?", (key, holder)
        ).fetchone()
        return row is not None

    def spent(self, key: str) -> float:
        row = self._db.execute("SELECT spent FROM budgets WHERE key = ?", (key,)).fetchone()
        return float(row[0]) if row else 0.0

    def spend(self, key: str, amount: float, until: float) -> None:
        self._db.execute(
            "INSERT INTO budgets VALUES (?, ?, ?) ON CONFLICT (key) "
            "DO UPDATE SET spent = spent + excluded.spent, until = excluded.until",
            (key, amount, until),
        )
