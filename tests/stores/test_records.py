"""What every store of records does alike: in memory, in a file, in a real Redis."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.records import Records, StoreUnavailable
from gateway.stores.memory.records import MemoryRecords
from gateway.stores.redis.records import RedisRecords
from gateway.stores.sqlite import records as sqlite_records
from gateway.stores.sqlite.records import SqliteRecords
from tests.support.redis import StartRedis


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def records(
    request: pytest.FixtureRequest, tmp_path: Path, start_redis: StartRedis
) -> AsyncIterator[Records]:
    made: Records
    if request.param == "memory":
        made = MemoryRecords()
    elif request.param == "sqlite":
        made = SqliteRecords(tmp_path / "store.db")
    else:
        made = RedisRecords((await start_redis()).url)
    yield made
    await made.close()


async def test_a_value_is_kept_under_its_kind_and_key(records: Records) -> None:
    await records.put("a", "x", b"\0\xff")
    await records.put("a", "y", b"2", 60.0)
    await records.put("b", "x", b"other")
    assert await records.all("a") == {"x": b"\0\xff", "y": b"2"}
    assert await records.all("b") == {"x": b"other"}
    assert await records.all("c") == {}


async def test_a_value_is_replaced(records: Records) -> None:
    await records.put("a", "x", b"1", 0.05)
    await records.put("a", "x", b"2")
    assert await records.all("a") == {"x": b"2"}


async def test_of_many_who_take_one_gets_it(records: Records) -> None:
    await records.put("a", "x", b"1", 60.0)
    got = await asyncio.gather(*(records.take("a", "x") for _ in range(50)))
    assert sorted(got, key=bool) == [None] * 49 + [b"1"]
    assert await records.all("a") == {}


async def test_a_value_expires(records: Records) -> None:
    await records.put("a", "short", b"1", 0.05)
    await records.put("a", "long", b"2", 60.0)
    async with asyncio.timeout(5):
        while "short" in await records.all("a"):  # noqa: ASYNC110 -- only time makes it so
            await asyncio.sleep(0.01)  # its clock, not ours
    assert await records.take("a", "short") is None
    assert await records.all("a") == {"long": b"2"}


async def test_the_version_of_a_kind_changes_when_a_record_is_put(records: Records) -> None:
    seen = {await records.version("a")}
    for number in range(20):
        await records.put("a", "x", b"%d" % number, 60.0)
        seen.add(await records.version("a"))
    assert len(seen) == 21
    await records.put("b", "x", b"1")
    assert await records.version("a") in seen


@pytest.mark.parametrize(
    "key", ["a:b", "a b", "{x}", "a\nb", "ä", "%s'\"; DROP TABLE records--", ""]
)
async def test_a_key_may_hold_any_character(records: Records, key: str) -> None:
    await records.put("a", key, b"1", 60.0)
    assert await records.all("a") == {key: b"1"}
    assert await records.take("a", key) == b"1"


async def test_memory_forgets_what_has_expired() -> None:
    now = 0.0
    records = MemoryRecords(lambda: now)
    for number in range(5000):
        await records.put("a", str(number), b"", 1.0)
        now += 0.01
    assert len(records) <= 1024 + 100


async def test_sqlite_records_outlive_the_process_that_made_them(tmp_path: Path) -> None:
    one = SqliteRecords(tmp_path / "deep" / "store.db")
    await one.put("a", "x", b"1")
    await one.close()
    other = SqliteRecords(tmp_path / "deep" / "store.db")
    assert await other.all("a") == {"x": b"1"}
    await other.close()


async def test_every_redis_key_expires_with_the_last_record_of_its_kind(
    start_redis: StartRedis,
) -> None:
    redis = await start_redis()
    records = RedisRecords(redis.url)
    await records.put("a", "x", b"1", 60.0)
    await records.put("a", "y", b"1", 30.0)
    for key in ("record:a:x", "index:a", "version:a"):
        left_ms = int((await redis.command("PTTL", "{llm-gateway}:" + key))[1:])
        assert 50_000 < left_ms <= 60_000, key
    await records.put("a", "for ever", b"1")
    assert await redis.command("PTTL", "{llm-gateway}:index:a") == b":-1\r\n"
    await records.close()


async def test_a_redis_that_hangs_or_is_gone_is_unavailable(start_redis: StartRedis) -> None:
    redis = await start_redis()
    records = RedisRecords(redis.url, timeout_s=0.1)
    await records.put("a", "x", b"1")
    redis.signal(signal.SIGSTOP)
    with pytest.raises(StoreUnavailable):
        await records.take("a", "x")
    redis.signal(signal.SIGCONT)
    await redis.stop()
    with pytest.raises(StoreUnavailable):
        await records.version("a")
    await records.close()


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
    monkeypatch.setattr(sqlite_records, "_TIMEOUT_S", 0.05)
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
