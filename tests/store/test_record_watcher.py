"""A followed kind of records: the copy, and what happens while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from gateway.store import polling
from gateway.store.record_watcher import RecordWatcher
from gateway.store.records import StoreUnavailable
from gateway.stores.memory.records import MemoryRecords


class Faulty(MemoryRecords):
    """Counts what it is asked, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.read = 0
        self.asked = asyncio.Event()

    async def version(self, kind: str) -> str:
        self.asked.set()
        if self.away:
            raise StoreUnavailable("gone fishing")
        return await super().version(kind)

    async def all(self, kind: str) -> Mapping[str, bytes]:
        self.read += 1
        return await super().all(kind)

    async def twice(self) -> None:
        """Wait until it was asked twice more: the first may have begun before."""
        for _ in range(2):
            self.asked.clear()
            await self.asked.wait()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "EVERY_S", 0.001)


async def test_what_is_put_appears_and_is_read_once() -> None:
    records, seen = Faulty(), list[Mapping[str, bytes]]()
    one = RecordWatcher(records, "a", changed=seen.append)
    one.start()
    await one.ready.wait()
    await records.put("a", "x", b"1")
    await records.twice()
    await records.twice()
    assert one.found == {"x": b"1"}
    assert seen == [{}, {"x": b"1"}]
    assert records.read == 2
    one.close()


async def test_without_the_store_the_copy_stays_and_it_is_said_once() -> None:
    records, said = Faulty(), list[str]()
    await records.put("a", "x", b"1")
    one = RecordWatcher(records, "a", report=said.append)
    one.start()
    await one.ready.wait()
    records.away = True
    await records.twice()
    await records.twice()
    assert one.found == {"x": b"1"}
    assert said == ["a: the store does not answer, its last copy is used: gone fishing"]
    records.away = False
    await records.put("a", "y", b"2")
    await records.twice()
    assert set(one.found) == {"x", "y"}
    records.away = True
    await records.twice()
    assert len(said) == 2
    one.close()


async def test_it_is_not_ready_before_the_store_has_answered() -> None:
    records = Faulty()
    records.away = True
    one = RecordWatcher(records, "a")
    one.start()
    await records.twice()
    assert not one.ready.is_set()
    records.away = False
    await one.ready.wait()
    one.close()
