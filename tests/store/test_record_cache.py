"""A bounded copy of records: what it asks the store, and what it does while the store is away."""

from __future__ import annotations

import asyncio

import pytest

from gateway.store import polling
from gateway.store.record_cache import NotCached, RecordCache
from gateway.store.records import Changes, StoreUnavailable
from gateway.stores.memory.records import MemoryRecords
from tests.support.waiting import asked_until


class Counting(MemoryRecords):
    """Counts the records that are read, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.read = 0

    async def get(self, kind: str, key: str) -> bytes | None:
        self.read += 1
        return await super().get(kind, key)

    async def changes(self, kind: str, since: str | None) -> Changes:
        if self.away:
            raise StoreUnavailable("gone fishing")
        return await super().changes(kind, since)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "EVERY_S", 0.001)


def parse(key: str, value: bytes) -> str | None:
    return value.decode() or None


async def started(records: MemoryRecords, cap: int) -> RecordCache[str]:
    cache = RecordCache(records, "a", parse, cap=cap)
    cache.start()
    await cache.ready.wait()
    return cache


async def until(cache: RecordCache[str], key: str, wanted: str | None) -> None:
    async def found() -> str | None:
        try:
            return cache.find(key)
        except NotCached:
            return await cache.fetch(key)

    await asked_until(found, lambda value: value == wanted)


async def test_a_copy_that_fits_is_complete_and_asks_for_changed_records_only() -> None:
    records = Counting()
    for number in range(50):
        await records.put("a", f"k{number}", b"1")
    cache = await started(records, 100)
    assert (len(cache), records.read) == (50, 0)
    assert cache.find("unknown") is None
    await records.put("a", "k7", b"2")
    await until(cache, "k7", "2")
    assert records.read == 1
    await records.put("a", "k7", b"")
    await until(cache, "k7", None)
    cache.close()


async def test_a_copy_that_does_not_fit_fetches_what_is_asked_for() -> None:
    records = Counting()
    for number in range(500):
        await records.put("a", f"k{number}", b"1")
    cache = await started(records, 100)
    assert len(cache) == 0
    for number in range(500):
        with pytest.raises(NotCached):
            cache.find(f"k{number}")
        assert await cache.fetch(f"k{number}") == "1"
        assert cache.find(f"k{number}") == "1"
        assert len(cache) <= 100
    assert await cache.fetch("unknown") is None
    assert cache.find("unknown") is None
    await records.put("a", "unknown", b"3")
    await until(cache, "unknown", "3")
    await records.put("a", "k499", b"2")
    await until(cache, "k499", "2")
    cache.close()


async def test_a_copy_that_no_longer_fits_drops_the_oldest() -> None:
    records = Counting()
    cache = await started(records, 10)
    for number in range(11):
        await records.put("a", f"k{number}", b"1")
    await until(cache, "k10", "1")
    assert len(cache) <= 10
    await until(cache, "k0", "1")
    cache.close()


async def test_while_the_store_is_away_the_copy_is_used() -> None:
    records, said = Counting(), list[str]()
    await records.put("a", "x", b"1")
    cache = RecordCache(records, "a", parse, report=said.append)
    cache.start()
    await cache.ready.wait()
    records.away = True
    await asked_until(lambda: asyncio.sleep(0, len(said)), lambda count: count == 1)
    assert cache.find("x") == "1"
    records.away = False
    await records.put("a", "x", b"2")
    await until(cache, "x", "2")
    assert len(said) == 1
    cache.close()
