"""What every store of records does alike: in memory, in a file, in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.records import Changes, Records
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
    await asked_until(lambda: records.get("a", "short"), lambda value: value is None)
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


async def test_one_record_is_read_without_the_others(records: Records) -> None:
    await records.put("a", "x", b"1")
    await records.put("a", "y", b"2", 0.05)
    assert await records.get("a", "x") == b"1"
    assert await records.get("a", "z") is None
    assert await records.get("b", "x") is None
    await asked_until(lambda: records.get("a", "y"), lambda found: found is None)


async def test_records_are_read_in_pages_in_order_of_their_keys(records: Records) -> None:
    for key in ("d", "b", "a", "c"):
        await records.put("k", key, key.encode())
    await records.put("other", "aa", b"-")
    first = await records.page("k", "", 3)
    assert list(first) == ["a", "b", "c"]
    assert await records.page("k", "c", 3) == {"d": b"d"}
    assert await records.page("k", "d", 3) == {}
    assert await records.page("nothing", "", 3) == {}


async def test_a_page_may_begin_after_any_text_and_leaves_out_what_expires(
    records: Records,
) -> None:
    for key in ("team/b", "team/a", "user/c", "team/d"):
        await records.put("k", key, b"1")
    await records.put("k", "team/c", b"1", 60.0)
    assert list(await records.page("k", "team/", 2)) == ["team/a", "team/b"]
    assert list(await records.page("k", "team/c", 2)) == ["team/d", "user/c"]
    assert list(await records.page("k", "team/a~", 9)) == ["team/b", "team/d", "user/c"]
    assert sorted(await records.all("k")) == ["team/a", "team/b", "team/c", "team/d", "user/c"]


async def test_changes_name_what_was_put_since_a_mark(records: Records) -> None:
    await records.put("a", "x", b"1")
    first = await records.changes("a", None)
    assert first.keys is None
    assert await records.changes("a", first.mark) == Changes(first.mark, [])
    await records.put("a", "y", b"1")
    await records.put("a", "x", b"2")
    await records.put("b", "z", b"1")
    second = await records.changes("a", first.mark)
    assert sorted(second.keys or ()) == ["x", "y"]
    assert await records.changes("a", second.mark) == Changes(second.mark, [])


async def test_a_kind_without_records_has_a_mark(records: Records) -> None:
    empty = await records.changes("a", None)
    await records.put("a", "x", b"1")
    found = await records.changes("a", empty.mark)
    assert found.keys in (None, ["x"])


async def test_a_value_is_replaced_only_if_nobody_replaced_it_before(records: Records) -> None:
    assert not await records.replace("a", "x", b"0", b"1")
    assert await records.replace("a", "x", None, b"1")
    assert not await records.replace("a", "x", None, b"2")
    assert not await records.replace("a", "x", b"", b"2")
    mark = (await records.changes("a", None)).mark
    assert not await records.replace("a", "x", b"0", b"2")
    assert await records.changes("a", mark) == Changes(mark, [])
    assert await records.replace("a", "x", b"1", b"\0\xff")
    assert (await records.changes("a", mark)).keys == ["x"]
    assert await records.get("a", "x") == b"\0\xff"
    # A record that expires is replaced by one that stays.
    await records.put("a", "y", b"null", 60.0)
    assert await records.replace("a", "y", b"null", b"1")
    assert await records.page("a", "x", 9) == {"y": b"1"}
    done = await asyncio.gather(*(records.replace("a", "z", None, b"%d" % n) for n in range(20)))
    assert sum(done) == 1
