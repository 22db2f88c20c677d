"""What every store of records does alike: in memory, in a file, in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.records import Records
from gateway.stores.memory.records import MemoryRecords
from gateway.stores.redis.records import RedisRecords
from gateway.stores.sqlite.records import SqliteRecords
from tests.support.redis import StartRedis
from tests.support.waiting import asked_until


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
    # By the store's clock, not ours.
    await asked_until(lambda: records.all("a"), lambda found: "short" not in found)
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
