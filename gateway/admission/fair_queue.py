"""Who is next: strict classes of priority, and within a class each tenant its weighted share.

Start-time fair queueing (Goyal, Vin, Cheng 1996) with requests of one size: an entry is stamped
with the virtual time at which its tenant's turn would come, and the earliest stamp goes first. A
tenant with a thousand entries delays another's first one by one turn. No clock and no I/O here.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field


@dataclass(order=True, slots=True)
class Entry:
    """A place in the queue."""

    sort_key: tuple[int, float, int] = field(init=False)
    tenant: str = field(compare=False)
    priority: int = field(compare=False)
    """Higher goes first, always."""
    weight: float = field(compare=False, default=1.0)
    waiting: bool = field(compare=False, default=True)


class FairQueue:
    """Entries that wait."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._count = 0
        self._virtual: dict[int, float] = {}
        """Of each class: the stamp of the entry that left last."""
        self._last: dict[tuple[int, str], float] = {}
        """Of each class and tenant: the stamp its next entry follows."""
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return self._count

    def add(self, tenant: str, *, priority: int = 0, weight: float = 1.0) -> Entry:
        """Take a place."""
        entry = Entry(tenant, priority, weight)
        key = (priority, tenant)
        start = max(self._virtual.get(priority, 0.0), self._last.get(key, 0.0))
        self._last[key] = start + 1.0 / weight
        entry.sort_key = (-priority, self._last[key], next(self._numbers))
        heapq.heappush(self._heap, entry)
        self._count += 1
        return entry

    def remove(self, entry: Entry) -> None:
        """Give up a place. Giving it up twice is giving it up once."""
        if entry.waiting:
            entry.waiting = False
            self._count -= 1
            self._tidy()

    def next(self) -> Entry | None:
        """Take out whose turn it is; None if nobody waits."""
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
        """How many go before it, as things are; 0: it is next. Takes time with the length."""
        return sum(1 for other in self._heap if other.waiting and other < entry)

    def _tidy(self) -> None:
        """Let what is past cost nothing."""
        if not self._count:
            # Nobody waits: everybody's share begins anew.
            self._heap.clear()
            self._virtual.clear()
            self._last.clear()
        elif len(self._heap) > 2 * self._count + 64:
            self._heap = [entry for entry in self._heap if entry.waiting]
            heapq.heapify(self._heap)
