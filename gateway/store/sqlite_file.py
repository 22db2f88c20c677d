"""Opening of SQLite files that several processes share."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

_PATIENCE_S = 5.0
_RETRY_S = 0.005
_PRIVATE = 0o600


def open_private(
    path: Path, *, timeout_s: float, check_same_thread: bool = True
) -> sqlite3.Connection:
    """Return a connection in autocommit mode to a file that only its owner can read.

    The files that SQLite adds (-wal, -shm) get the same mode. A file that an earlier version left
    readable for others becomes private. Raise OSError or sqlite3.Error.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never open an existing file: closing it would drop the locks that SQLite holds on it for other
    # connections of this process (https://sqlite.org/howtocorrupt.html, section 2.2).
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE))
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # may be another user's file
            if name.stat().st_mode & 0o077:
                name.chmod(_PRIVATE)
    return sqlite3.connect(
        path, timeout=timeout_s, isolation_level=None, check_same_thread=check_same_thread
    )


def why(exc: Exception) -> str:
    """Return the reason why a file cannot be used, for people."""
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror
    return str(exc)


def prepare(db: sqlite3.Connection, schema: str) -> None:
    """Run a script that can be run repeatedly. Blocks, so call it only at startup.

    While another process switches a new file to WAL, SQLite reports a lock without waiting
    (https://sqlite.org/wal.html, "Sometimes Queries Return SQLITE_BUSY In WAL Mode"). The script is
    then tried again, for 5 s at most. Close the connection and raise sqlite3.Error if it fails.
    """
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        try:
            db.executescript(schema)
        except sqlite3.Error as exc:
            if "locked" not in str(exc) or time.monotonic() >= give_up_at:
                db.close()
                raise
            time.sleep(_RETRY_S)
        else:
            return
