"""A new SQLite file that several begin in the same moment."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.store.sqlite_file import open_private, prepare

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


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_and_what_is_beside_it_are_its_owners_alone(tmp_path: Path) -> None:
    old_umask = os.umask(0)
    try:
        for number, begun in enumerate((False, True)):
            file = tmp_path / f"{number}.db"
            if begun:  # by a version that left it to everybody
                file.touch(mode=0o666)
            with contextlib.closing(open_private(file, timeout_s=1.0)) as db:
                prepare(db, SCHEMA)
                db.execute("INSERT INTO t VALUES (1)")
                beside = sorted(tmp_path.glob(f"{number}.db*"))
                assert len(beside) == 3
                assert [mode(one) for one in beside] == [0o600] * 3
    finally:
        os.umask(old_umask)


def test_a_file_that_cannot_be_prepared_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    file.write_text("no database, and longer than a header of one would be" * 20)
    db = open_private(file, timeout_s=1.0)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        prepare(db, SCHEMA)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        db.execute("SELECT 1")


ANOTHER = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    db.execute("INSERT INTO t VALUES (2)")
db.close()
"""


def test_opening_a_file_again_leaves_its_locks_to_the_first(tmp_path: Path) -> None:
    """Closing any descriptor of it would drop them, and another process would take its log away."""
    file = tmp_path / "a.db"
    with contextlib.closing(open_private(file, timeout_s=1.0)) as first:
        prepare(first, SCHEMA)
        first.execute("INSERT INTO t VALUES (1)")
        with contextlib.closing(open_private(file, timeout_s=1.0)):
            subprocess.run([sys.executable, "-c", ANOTHER, str(file)], check=True)
            assert Path(f"{file}-wal").exists()
            assert first.execute("SELECT count(*) FROM t").fetchone() == (2,)
