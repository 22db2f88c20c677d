"""How a SQLite file that several processes share is begun."""

from __future__ import annotations

import sqlite3
import time

_PATIENCE_S = 5.0
_RETRY_S = 0.005


def prepare(db: sqlite3.Connection, schema: str) -> None:
    """Run a script that may be run twice. Raise sqlite3.Error; blocks, so only at the start.

    While another process turns a new file to WAL, SQLite says that it is locked without any
    waiting (https://sqlite.org/wal.html, "Sometimes Queries Return SQLITE_BUSY In WAL Mode").
    """
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        try:
            db.executescript(schema)
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() >= give_up_at:
                raise
            time.sleep(_RETRY_S)
        else:
            return
