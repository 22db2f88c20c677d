"""Fair queue: strict priority classes, and weighted shares for the tenants within a class.

The algorithm is start-time fair queueing (Goyal, Vin, Cheng 1996) with requests of equal size. An
entry is stamped with the virtual time at which its tenant's turn would come, and the earliest stamp
goes first. A tenant with a thousand entries delays another tenant's first entry by one turn. No
clock and no I/O.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field


@dataclass(order=True, slots=True)
class Entry:
    """An entry in the queue."""

    sort_key: tuple[int, float, int] = field(init=False)
    tenant: str = field(compare=False)
    priority: int = field(compare=False)
    """Priority class. A higher one always goes first."""
    weight: float = field(compare=False, default=1.0)
    waiting: bool = field(compare=False, default=True)


class FairQueue:
    """A queue of waiting entries."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._count = 0
        self._virtual: dict[int, float] = {}
        """Stamp of the entry that left last, by class."""
        self._last: dict[tuple[int, str], float] = {}
        """Stamp of the last entry added, by class and tenant; the next one follows it."""
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return self._count

    def add(self, tenant: str, *, priority: int = 0, weight: float = 1.0) -> Entry:
        """Add an entry."""
        entry = Entry(tenant, priority, weight)
        key = (priority, tenant)
        start = max(self._virtual.get(priority, 0.0), self._last.get(key, 0.0))
        self._last[key] = start + 1.0 / weight
        entry.sort_key = (-priority, self._last[key], next(self._numbers))
        heapq.heappush(self._heap, entry)
        self._count += 1
        return entry

    def remove(self, entry: Entry) -> None:
        """Remove an entry. Removing it again has no effect."""
        if entry.waiting:
            entry.waiting = False
            self._count -= 1
            self._tidy()

    def next(self) -> Entry | None:
        """Remove and return the entry whose turn it is, or return None if the queue is empty."""
        while self._heap:
            entry = heapq.heappop(self._heap)
            if entry.waiting:
                entry.waiting = False
                self._count -= 1
                self._virtual[entry.priority] = entry.sort_key[1]
                self._tidy()
                return entry
        return None

    def position(self, entry: Entry) -> int:
        """Return the number of entries ahead, 0 for the first. Linear in the queue's length."""
        return sum(1 for other in self._heap if other.waiting and other < entry)

    def _tidy(self) -> None:
        """Free the memory of entries and stamps that are no longer needed."""
        if not self._count:
            # The queue is empty, so all tenants start afresh.
            self._heap.clear()
            self._virtual.clear()
            self._last.clear()
        elif len(self._heap) > 2 * self._count + 64:
            self._heap = [entry for entry in self._heap if entry.waiting]
            heapq.heapify(self._heap)
