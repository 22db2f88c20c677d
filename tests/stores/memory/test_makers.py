"""Makers of the memory store: new, empty stores that no other process sees."""

from __future__ import annotations

from gateway.store.location import locate
from gateway.stores.memory.limits import MemoryLimits
from gateway.stores.memory.makers import open_limits, open_records, open_sharing
from gateway.stores.memory.records import MemoryRecords

MEMORY = locate("memory://")


def test_limits_and_records_are_kept_in_this_process() -> None:
    assert isinstance(open_limits(MEMORY), MemoryLimits)
    assert isinstance(open_records(MEMORY), MemoryRecords)


def test_streams_are_not_shared() -> None:
    open_sharing(MEMORY, lambda *_: None)  # the type says None
