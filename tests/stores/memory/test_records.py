"""Records in memory: what has expired is dropped."""

from __future__ import annotations

from gateway.stores.memory.records import MemoryRecords


async def test_memory_forgets_what_has_expired() -> None:
    now = 0.0
    records = MemoryRecords(lambda: now)
    for number in range(5000):
        await records.put("a", str(number), b"", 1.0)
        now += 0.01
    assert len(records) <= 1024 + 100
