"""A new SQLite file that several begin in the same moment."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.store.sqlite_file import prepare

AT_ONCE = 4
SCHEMA = "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t (a);"


def test_r1_four_may_begin_a_file_in_the_same_moment(tmp_path: Path) -> None:
    together = threading.Barrier(AT_ONCE)

    def begin(file: Path) -> str:
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as db:
            together.wait()
            prepare(db, SCHEMA)
            return str(db.execute("PRAGMA journal_mode").fetchone()[0])

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for number in range(50):
            file = tmp_path / f"{number}.db"
            assert list(threads.map(begin, [file] * AT_ONCE)) == ["wal"] * AT_ONCE
