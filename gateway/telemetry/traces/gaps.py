"""Gaps of a stream: the times between its pieces."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram's buckets. One more bucket holds longer gaps."""
STALL_S = 2.5
"""Gap from which on a stall is recorded individually, in seconds."""
_MOST_STALLS = 20


class Gaps:
    """Gaps of one response body. `feed` is called for every piece, so it is kept simple."""

    __slots__ = ("_notable_s", "counts", "last", "longest_s", "stalls")

    def __init__(self) -> None:
        self.last = 0.0
        """Arrival of the last piece, in `time.perf_counter` seconds; 0 before the first."""
        self.longest_s = 0.0
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.stalls: list[tuple[float, float]] = []
        """Begin and end of each stall; at most the first 20."""
        self._notable_s = -1.0
        """A longer gap is more than a count: it is the longest so far, or a stall."""

    @property
    def pieces(self) -> int:
        """Number of pieces."""
        return sum(self.counts) + 1 if self.last else 0

    def feed(self, now: float) -> None:
        """Record the arrival of a piece."""
        gap_s = now - self.last
        if gap_s > self._notable_s:
            if not self.last:
                self.last = now
                return
            self._note(gap_s, now)
        self.counts[bisect_left(BOUNDS_S, gap_s)] += 1
        self.last = now

    def _note(self, gap_s: float, now: float) -> None:
        self.longest_s = max(self.longest_s, gap_s)
        self._notable_s = min(self.longest_s, STALL_S)
        if gap_s >= STALL_S and len(self.stalls) < _MOST_STALLS:
            self.stalls.append((self.last, now))
