"""Gaps of a stream: the times between its pieces."""

from __future__ import annotations

import time
from bisect import bisect_left

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram's buckets. One more bucket holds longer gaps."""
STALL_S = 2.5
"""Gap from which on a stall is recorded individually, in seconds."""
_MOST_STALLS = 20


class Gaps:
    """Gaps of one response body. `feed` is called for every piece, so it is kept simple."""

    __slots__ = ("counts", "last", "longest_s", "pieces", "stalls")

    def __init__(self) -> None:
        self.pieces = 0
        self.last = 0.0
        """Arrival of the last piece, in `time.perf_counter` seconds."""
        self.longest_s = 0.0
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.stalls: list[tuple[float, float]] = []
        """Begin and end of each stall; at most the first 20."""

    def feed(self) -> None:
        """Record the arrival of a piece."""
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
