"""How evenly a stream flows: the silences between its pieces."""

from __future__ import annotations

import time
from bisect import bisect_left

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram's buckets; there is one more for what is longer."""
STALL_S = 2.5
"""A silence this long is told by itself."""
_MOST_STALLS = 20


class Gaps:
    """Of one response body. Listens to every piece: on the path of every event, so it is plain."""

    __slots__ = ("counts", "last", "longest_s", "pieces", "stalls")

    def __init__(self) -> None:
        self.pieces = 0
        self.last = 0.0
        """When the last one came, in `time.perf_counter` seconds."""
        self.longest_s = 0.0
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.stalls: list[tuple[float, float]] = []
        """When each of them began and ended."""

    def feed(self) -> None:
        """A piece has come."""
        now = time.perf_counter()
        if self.pieces:
            gap_s = now - self.last
            self.counts[bisect_left(BOUNDS_S, gap_s)] += 1
            if gap_s > self.longest_s:
                self.longest_s = gap_s
            if gap_s >= STALL_S and len(self.stalls) < _MOST_STALLS:
                self.stalls.append((self.last, now))
        self.pieces += 1
        self.last = now
