"""Rate limit on reads of kept streams, since each read may send a whole stream again.

A token bucket for each caller (GCRA). No I/O and no clock.
"""

from __future__ import annotations

_MOST_CALLERS = 10_000


class ReadLimit:
    """Token buckets of one route's callers in one process. Beyond 10 000, the oldest is dropped."""

    def __init__(self, per_s: float, burst: float) -> None:
        """`per_s` is the rate in reads a second, `burst` the number of reads allowed at once."""
        self._interval_s = 1.0 / per_s
        self._burst_s = (burst - 1.0) * self._interval_s
        self._full_at: dict[bytes, float] = {}
        """Time at which each caller's bucket is full again, in seconds of the clock of `now`."""

    def wait_s(self, caller: bytes, now: float) -> float:
        """Take one read. Return 0.0 if it is allowed, else the seconds until the next attempt."""
        full_at = max(self._full_at.get(caller, now), now)
        if full_at - now > self._burst_s:
            return full_at - now - self._burst_s
        if caller not in self._full_at and len(self._full_at) >= _MOST_CALLERS:
            del self._full_at[next(iter(self._full_at))]  # the oldest entry
        self._full_at[caller] = full_at + self._interval_s
        return 0.0
