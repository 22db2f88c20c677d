"""Tables of the local store, and the migration of files of earlier versions."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import orjson

from gateway.telemetry.traces.silence import longest_silence_s

VERSION = 6
_USAGE = """
CREATE TABLE IF NOT EXISTS usage (
    day TEXT, tenant TEXT, subject TEXT, key TEXT, route TEXT, model TEXT, currency TEXT,
    requests INTEGER, errors INTEGER, limited INTEGER, counted INTEGER, tokens_in INTEGER,
    tokens_out INTEGER, cached INTEGER, cost REAL, last REAL, team TEXT DEFAULT '',
    tags TEXT DEFAULT '',
    PRIMARY KEY (day, tenant, subject, key, team, tags, route, model, currency)) WITHOUT ROWID;
"""
_USAGE_5 = """
CREATE TABLE usage (
    day TEXT, tenant TEXT, subject TEXT, key TEXT, route TEXT, model TEXT, currency TEXT,
    requests INTEGER, errors INTEGER, limited INTEGER, counted INTEGER, tokens_in INTEGER,
    tokens_out INTEGER, cached INTEGER, cost REAL, last REAL,
    PRIMARY KEY (day, tenant, subject, key, route, model, currency)) WITHOUT ROWID;
"""
SCHEMA = f"""
PRAGMA auto_vacuum=INCREMENTAL;
PRAGMA journal_mode=WAL;
PRAGMA synchronous=OFF;
PRAGMA journal_size_limit=4194304;
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, trace TEXT, span TEXT, request TEXT, at REAL, seconds REAL, ttft REAL,
    route TEXT, model TEXT, tenant TEXT, status INTEGER, ended TEXT, error TEXT, kept TEXT,
    record TEXT, asked TEXT, subject TEXT, upstream TEXT, tokens INTEGER, stream TEXT,
    silent REAL, UNIQUE (trace, span));
CREATE INDEX IF NOT EXISTS requests_at ON requests (at);
CREATE INDEX IF NOT EXISTS requests_request ON requests (request);
CREATE INDEX IF NOT EXISTS requests_stream ON requests (stream) WHERE stream IS NOT NULL;
{_USAGE}
CREATE INDEX IF NOT EXISTS usage_key ON usage (key, day) WHERE key <> '';
CREATE INDEX IF NOT EXISTS usage_subject ON usage (subject, day);
CREATE TABLE IF NOT EXISTS minutes (at REAL PRIMARY KEY, minute BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (boot TEXT PRIMARY KEY, number INTEGER, at REAL) WITHOUT ROWID;
PRAGMA user_version={VERSION};
"""
_CONVERSIONS = {
    1: """
BEGIN IMMEDIATE;
ALTER TABLE requests ADD COLUMN asked TEXT;
UPDATE requests SET asked = json_extract(record, '$.model');
PRAGMA user_version=2;
COMMIT;
""",
    2: """
BEGIN IMMEDIATE;
ALTER TABLE requests ADD COLUMN subject TEXT;
ALTER TABLE requests ADD COLUMN upstream TEXT;
ALTER TABLE requests ADD COLUMN tokens INTEGER;
ALTER TABLE requests ADD COLUMN stream TEXT;
UPDATE requests SET subject = json_extract(record, '$.subject'),
    upstream = json_extract(record, '$.upstream'), tokens = json_extract(record, '$.tokens_out');
PRAGMA user_version=3;
COMMIT;
""",
    3: """
BEGIN IMMEDIATE;
ALTER TABLE requests ADD COLUMN silent REAL;
UPDATE requests SET silent = silence(record);
PRAGMA user_version=4;
COMMIT;
""",
    4: f"""
BEGIN IMMEDIATE;
ALTER TABLE usage RENAME TO usage_4;
{_USAGE_5}
INSERT INTO usage SELECT day, tenant, '', '', route, model, currency, requests, errors, limited,
    counted, tokens_in, tokens_out, 0, cost, NULL FROM usage_4;
DROP TABLE usage_4;
PRAGMA user_version=5;
COMMIT;
""",  # noqa: S608 -- the table is ours
    5: f"""
BEGIN IMMEDIATE;
ALTER TABLE usage RENAME TO usage_5;
{_USAGE}
INSERT INTO usage SELECT *, '', '' FROM usage_5;
DROP TABLE usage_5;
PRAGMA user_version=6;
COMMIT;
""",  # noqa: S608 -- the table is ours
}
"""Migration scripts from each version to the next. `asked` is the model that the caller requested;
`model` is the one that served it. `silence` is `_silence`.
"""


def convert(path: Path, timeout_s: float) -> None:
    """Migrate a file of an older version. Raise sqlite3.Error, OSError."""
    if not path.exists():
        return
    with contextlib.closing(sqlite3.connect(path, timeout=timeout_s, isolation_level=None)) as db:
        db.create_function("silence", 1, _silence, deterministic=True)
        for version, script in _CONVERSIONS.items():
            if db.execute("PRAGMA user_version").fetchone() == (version,):
                db.executescript(script)


def _silence(text: str) -> float | None:
    """Return the longest silence of a record in JSON; None if the record has no duration."""
    record = orjson.loads(text)
    return longest_silence_s(record) if "s" in record else None
