"""Records in a SQLite file: kept over a restart, shared, locked or damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.store.records import StoreUnavailable
from gateway.stores.sqlite import records as sqlite_records
from gateway.stores.sqlite.records import SqliteRecords


async def test_sqlite_records_outlive_the_process_that_made_them(tmp_path: Path) -> None:
    one = SqliteRecords(tmp_path / "deep" / "store.db")
    await one.put("a", "x", b"1")
    await one.close()
    other = SqliteRecords(tmp_path / "deep" / "store.db")
    assert await other.all("a") == {"x": b"1"}
    await other.close()


async def test_a_file_that_is_no_database_is_refused_at_once(tmp_path: Path) -> None:
    records = SqliteRecords(tmp_path / "store.db")
    await records.put("a", "x", b"1")
    await records.close()
    (tmp_path / "store.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        SqliteRecords(tmp_path / "store.db")


async def test_a_sqlite_file_that_another_process_locks_for_long_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_records, "TIMEOUT_S", 0.05)
    records = SqliteRecords(tmp_path / "store.db")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await records.put("a", "x", b"1")
    assert await records.all("a") == {}
    other.execute("ROLLBACK")
    other.close()
    await records.put("a", "x", b"1")
    await records.close()
