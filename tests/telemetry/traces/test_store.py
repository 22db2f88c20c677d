"""The local trace store: what is written, found again, kept how long, and what its faults cost."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.telemetry.metrics.minute import Minute
from gateway.telemetry.traces.minutes import StoredMinutes
from gateway.telemetry.traces.reader import Sort, TraceReader
from gateway.telemetry.traces.store import Batch, Retention, TraceStore, tidy
from tests.support.records import record
from tests.telemetry.traces.stored import LONG, NOW, Reports, batch, found, numbered


def test_what_was_added_is_found_the_newest_first(store: TraceStore) -> None:
    store.add(batch(1, numbered(1), numbered(3)))
    store.add(batch(2, numbered(2)))
    assert found(store) == ["r-3", "r-2", "r-1"]


def test_who_began_and_who_read_a_kept_stream_are_found_together(store: TraceStore) -> None:
    first, second = (numbered(n, stream="s-1", reads=n == 2) for n in (1, 2))
    store.add(batch(1, second, first, numbered(3)))
    assert store.flush(LONG)
    assert TraceReader(store.path).of_stream("s-1") == [first, second]


def test_a_whole_record_comes_back(store: TraceStore) -> None:
    one = numbered(1)
    store.add(batch(1, one))
    assert store.flush(LONG)
    reader = TraceReader(store.path)
    assert reader.trace("r-1") == [one]
    assert reader.trace(one["trace"]) == [one]
    assert reader.trace("r-") == []


def test_the_requests_of_one_trace_come_together(store: TraceStore) -> None:
    store.add(batch(1, record(span="1" * 16, at=NOW), record(span="2" * 16, at=NOW - 1)))
    assert store.flush(LONG)
    spans = [one["span"] for one in TraceReader(store.path).trace(record()["trace"])]
    assert spans == ["2" * 16, "1" * 16]


def test_a_batch_that_comes_again_is_written_once(store: TraceStore) -> None:
    tally = ["r", "m", "t", "ann", "k", 1, 0, 0, 1, 10, 5, 4, 0.5, "USD"]
    for _ in range(3):
        store.add(batch(1, numbered(1), tallies=[tally]))
    store.add(batch(2, numbered(2), tallies=[tally]))
    store.add(Batch("another boot", 1, [numbered(3)], [tally], NOW))
    assert found(store) == ["r-3", "r-2", "r-1"]
    (row,) = TraceReader(store.path).usage()
    assert (row["requests"], row["tokens_in"], row["cached"], row["cost"]) == (3, 30, 12, 1.5)
    assert row["last"] == NOW


def test_nobody_else_may_read_the_file(store: TraceStore) -> None:
    store.add(batch(1, numbered(1)))
    assert store.flush(LONG)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_minutes_are_read_back_by_time(store: TraceStore) -> None:
    log = StoredMinutes(store, TraceReader(store.path))
    one = Minute(NOW - 60, 60.0, {"requests": 6.0}, {"active_streams": 2.0}, {"ttft": [1] * 22})
    for minute in (one, Minute(NOW, 60.0), Minute(NOW - 120, 60.0)):
        log.add(minute)
    assert store.flush(LONG)
    assert log.read(NOW - 120, NOW - 60) == [one]
    assert [minute.at for minute in log.read(0, NOW)] == [NOW - 120, NOW - 60, NOW]


# -- retention -------------------------------------------------------------------------------------


@pytest.fixture
def db(store: TraceStore) -> Iterator[sqlite3.Connection]:
    store.add(batch(1, *(numbered(n, reason="x" * 2000) for n in range(2000))))
    usage = ["r", "m", "t", "s", "", 1, 0, 0, 1, 1, 1, 0, 0.0, ""]
    store.add(Batch("y", 1, [], [usage], NOW - 100 * 86400))
    store.add(Batch("y", 2, [], [usage], NOW))
    assert store.flush(LONG)
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        yield db


def count(db: sqlite3.Connection, table: str = "requests") -> int:
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def test_minutes_stay_for_a_week_and_a_day(db: sqlite3.Connection) -> None:
    for days in (7.9, 8.1):
        db.execute("INSERT INTO minutes VALUES (?, '')", (NOW - days * 86400,))
    tidy(db, Retention(age_s=1.0), NOW)
    assert db.execute("SELECT at FROM minutes").fetchall() == [(NOW - 7.9 * 86400,)]


def test_when_usage_takes_too_much_the_oldest_days_lose_their_callers_then_go(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.telemetry.traces.store._LEAST_USAGE_ROWS", 1)

    def tallies(day: int) -> Batch:
        rows = [
            ["r", "m", "t", f"user-{number}", "", 1, 0, 0, 1, 2, 1, 1, 0.5, "USD"]
            for number in range(50)
        ]
        return Batch("x", day, [], rows, NOW + day * 86400)

    for day in range(1, 5):
        store.add(tallies(day))
    assert store.flush(LONG)
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        retention = Retention(age_s=1e9, size_bytes=110 * 400)  # of which a half is for 110 rows
        tidy(db, retention, NOW)
        days = [row["requests"] for row in TraceReader(store.path).usage(by=["day"])]
        assert days == [50] * 4
        assert count(db, "usage") == 102
        tidy(db, Retention(age_s=1e9, size_bytes=3 * 400), NOW)
    (first, *_) = rows = TraceReader(store.path).usage(by=["day", "subject"])
    assert [row["requests"] for row in rows] == [50] * 3
    assert (first["subject"], first["cost"], first["cached"]) == ("", 25.0, 50)


def test_what_is_too_old_goes(db: sqlite3.Connection) -> None:
    tidy(db, Retention(age_s=500.0, usage_age_s=50 * 86400), NOW + 500)
    assert count(db) == 1000
    assert db.execute("SELECT min(at) FROM requests").fetchone()[0] == NOW
    assert count(db, "usage") == 1


def test_the_oldest_go_where_the_file_is_too_large_and_it_shrinks(
    db: sqlite3.Connection, store: TraceStore
) -> None:
    before = TraceReader(store.path).size()["bytes"]
    tidy(db, Retention(age_s=1e9, size_bytes=2 * 1024**2), NOW)
    left = count(db)
    assert 300 < left < 1200
    newest = db.execute("SELECT max(at) FROM requests").fetchone()[0]
    assert newest == NOW - 1000 + 1999
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert store.path.stat().st_size <= 2 * 1024**2
    assert store.path.stat().st_size < before


def test_a_cap_that_usage_alone_is_over_empties_only_the_requests(db: sqlite3.Connection) -> None:
    tidy(db, Retention(age_s=1e9, size_bytes=1), NOW)
    assert count(db) == 0
    assert count(db, "usage") == 2


def test_the_store_tidies_up_by_itself(tmp_path: Path, reports: Reports) -> None:
    store = TraceStore(tmp_path / "t.db", Retention(age_s=500.0), reports, now=lambda: NOW)
    try:
        store.add(batch(1, *(numbered(n) for n in range(0, 1000, 100))))
        assert found(store) == ["r-900", "r-800", "r-700", "r-600", "r-500"]
    finally:
        store.close(LONG)


# -- faults ----------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_written_costs_records_and_one_line(
    tmp_path: Path, reports: Reports
) -> None:
    (tmp_path / "file").write_text("no folder")
    store = TraceStore(tmp_path / "file" / "t.db", Retention(), reports)
    try:
        for number in range(1, 6):
            store.add(batch(number, numbered(number)))
            assert store.flush(LONG)
        assert store.lost == 5
        assert len(reports) == 1
        assert reports[0]
    finally:
        store.close(LONG)


def test_it_works_again_once_the_reason_is_gone(
    tmp_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.telemetry.traces.store._RETRY_S", 0.0)
    (tmp_path / "folder").write_text("no folder")
    store = TraceStore(tmp_path / "folder" / "t.db", Retention(age_s=1e9), reports)
    try:
        store.add(batch(1, numbered(1)))
        assert store.flush(LONG)
        (tmp_path / "folder").unlink()
        store.add(batch(2, numbered(2)))
        assert found(store) == ["r-2"]
        assert store.lost == 1
        assert len(reports) == 2
        assert reports[1] is None
    finally:
        store.close(LONG)


def test_a_broken_file_makes_room_for_a_new_one(
    tmp_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.telemetry.traces.store._RETRY_S", 0.0)
    path = tmp_path / "t.db"
    path.write_bytes(b"this is no database, and never was one" * 100)
    store = TraceStore(path, Retention(age_s=1e9), reports)
    try:
        store.add(batch(1, numbered(1)))
        assert store.flush(LONG)
        store.add(batch(2, numbered(2)))
        assert found(store) == ["r-2"]
        assert path.with_name("t.db.broken").exists()
    finally:
        store.close(LONG)


OLD_USAGE = (
    "CREATE TABLE usage (day TEXT, tenant TEXT, route TEXT, model TEXT, currency TEXT, "
    "requests INTEGER, errors INTEGER, limited INTEGER, counted INTEGER, tokens_in INTEGER, "
    "tokens_out INTEGER, cost REAL, PRIMARY KEY (day, tenant, route, model, currency)) "
    "WITHOUT ROWID; INSERT INTO usage VALUES "
    "('2026-01-01', 't', 'r', 'm', 'USD', 3, 1, 1, 2, 30, 6, 0.5); "
)
OLDER = {
    1: "CREATE TABLE requests (id INTEGER PRIMARY KEY, trace TEXT, span TEXT, request TEXT, "
    "at REAL, seconds REAL, ttft REAL, route TEXT, model TEXT, tenant TEXT, status INTEGER, "
    "ended TEXT, error TEXT, kept TEXT, record TEXT, UNIQUE (trace, span)); ",
    2: "CREATE TABLE requests (id INTEGER PRIMARY KEY, trace TEXT, span TEXT, request TEXT, "
    "at REAL, seconds REAL, ttft REAL, route TEXT, model TEXT, tenant TEXT, status INTEGER, "
    "ended TEXT, error TEXT, kept TEXT, record TEXT, asked TEXT, UNIQUE (trace, span)); ",
    3: "CREATE TABLE requests (id INTEGER PRIMARY KEY, trace TEXT, span TEXT, request TEXT, "
    "at REAL, seconds REAL, ttft REAL, route TEXT, model TEXT, tenant TEXT, status INTEGER, "
    "ended TEXT, error TEXT, kept TEXT, record TEXT, asked TEXT, subject TEXT, upstream TEXT, "
    "tokens INTEGER, stream TEXT, UNIQUE (trace, span)); ",
}
OLDER[4] = OLDER[3].replace("UNIQUE", "silent REAL, UNIQUE")


@pytest.mark.parametrize("version", OLDER)
def test_a_file_of_an_older_version_is_converted(
    tmp_path: Path, reports: Reports, version: int
) -> None:
    """Its requests are found by what older versions had no column for, too."""
    path = tmp_path / "t.db"
    kept = (
        '{"model": "m", "served": "n", "request_id": "r-0", "subject": "ann", "upstream": "main", '
        '"tokens_out": 7, "s": 40.0, "first_byte_s": 1.0, "gaps": {"longest_s": 33.0}}'
    )
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.executescript(OLD_USAGE + OLDER[version])
        insert = "INSERT INTO requests (trace, span, request, at, model, record) VALUES "
        db.execute(insert + "('t', 's', 'r-0', 1, 'n', ?)", (kept,))
        if version > 1:
            db.execute("UPDATE requests SET asked = 'm'")
        if version > 2:
            db.execute("UPDATE requests SET subject = 'ann', upstream = 'main', tokens = 7")
        if version > 3:
            db.execute("UPDATE requests SET silent = 33.0")
        db.execute(f"PRAGMA user_version={version}")
    store = TraceStore(path, Retention(age_s=1e12), reports)
    try:
        assert found(store, model="m") == ["r-0"]  # before anything new is written
        store.add(batch(1, numbered(1, model="m", served="n")))
        assert found(store, model="m") == found(store, model="n") == ["r-1", "r-0"]
        assert found(store, subject="ann", upstream="main") == ["r-1", "r-0"]
        assert found(store, silent_s=30.0) == ["r-0"]
        assert found(store, sort=Sort.TOKENS) == ["r-1", "r-0"]
        assert TraceReader(path).names()["models"] == ["m", "n"]
        (row,) = TraceReader(path).usage(by=["tenant", "subject", "key"])
        assert (row["tenant"], row["subject"], row["key"]) == ("t", "", "")
        assert (row["requests"], row["tokens_in"], row["cached"]) == (3, 30, 0)
        assert row["last"] is None
        assert reports == []
    finally:
        store.close(LONG)


def test_another_versions_file_is_not_touched(tmp_path: Path, reports: Reports) -> None:
    path = tmp_path / "t.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE theirs (x); PRAGMA user_version=77;")
    before = path.read_bytes()
    store = TraceStore(path, Retention(), reports)
    try:
        store.add(batch(1, numbered(1)))
        assert store.flush(LONG)
        assert "another version" in (reports[0] or "")
        assert path.read_bytes() == before
    finally:
        store.close(LONG)


def test_adding_never_waits_and_what_is_too_much_is_counted(
    tmp_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.telemetry.traces.store._BACKLOG_BATCHES", 4)
    monkeypatch.setattr("gateway.telemetry.traces.store._BUSY_S", LONG)
    path = tmp_path / "t.db"
    store = TraceStore(path, Retention(age_s=1e9), reports)
    try:
        store.add(batch(1, numbered(1)))
        assert store.flush(LONG)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the writer waits for this
            started = time.monotonic()
            for number in range(2, 40):
                store.add(batch(number, numbered(number)))
            assert time.monotonic() - started < LONG / 2, "the writer waits for LONG"
            assert store.lost >= 38 - 4 - 4
            other.execute("ROLLBACK")
        assert store.flush(LONG)
        assert TraceReader(path).size()["requests"] + store.lost == 39
    finally:
        store.close(LONG)


def test_two_gateways_may_write_to_one_file(tmp_path: Path, reports: Reports) -> None:
    """While one takes over from another, both do."""
    path = tmp_path / "t.db"
    stores = [TraceStore(path, Retention(age_s=1e9), reports) for _ in range(2)]
    try:
        for number in range(1, 11):
            for index, store in enumerate(stores):
                one = numbered(100 * index + number)
                store.add(Batch(f"boot-{index}", number, [one], at=NOW))
        assert all(store.flush(LONG) for store in stores)
        assert TraceReader(path).size()["requests"] == 20
        assert reports == []
    finally:
        for store in stores:
            store.close(LONG)


def test_usage_is_summed_by_team_and_by_each_tag(tmp_path: Path, reports: Reports) -> None:
    def row(key: str, team: str, tags: str, requests: int) -> list[object]:
        counts = [requests, 0, 0, requests, 10 * requests, 0, 0, 1.0 * requests, "USD"]
        return ["r", "m", "acme", "ann", key, *counts, team, tags]

    store = TraceStore(tmp_path / "t.db", Retention(), reports)
    rows = [row("k1", "search", "ci,eu", 1), row("k2", "search", "ci", 2), row("k3", "", "", 4)]
    earlier = [row("k4", "", "", 8)[:-2]]  # of a worker of an earlier version
    try:
        store.add(Batch("b", 1, tallies=[*rows, *earlier], at=NOW))
        assert store.flush(LONG)
        reader = TraceReader(store.path)

        def sums(*by: str, **of: str) -> dict[tuple[str, ...], int]:
            found = reader.usage(by=by, of=of)
            return {tuple(one[name] for name in by): one["requests"] for one in found}

        assert sums("team") == {("",): 12, ("search",): 3}
        assert sums("tag") == {("",): 12, ("ci",): 3, ("eu",): 1}
        assert sums("team", "tag", team="search") == {("search", "ci"): 3, ("search", "eu"): 1}
        assert sums("key", tag="ci") == {("k1",): 1, ("k2",): 2}
        assert sums("key", tag="c") == {}
        assert sums("model", key="k2", model="m") == {("m",): 2}
        assert reports == []
    finally:
        store.close(LONG)
