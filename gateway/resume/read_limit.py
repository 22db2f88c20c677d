"""Rate limit for reads of kept streams: each read may send a whole stream again.

A token bucket for each caller (GCRA). No I/O and no clock here.
"""

from __future__ import annotations

_MOST_CALLERS = 10_000


class ReadLimit:
    """Buckets of one route's callers in one process; the first comers make room beyond 10 000."""

    def __init__(self, per_s: float, burst: float) -> None:
        """`per_s` reads a second, and `burst` at once."""
        self._interval_s = 1.0 / per_s
        self._burst_s = (burst - 1.0) * self._interval_s
        self._full_at: dict[bytes, float] = {}
        """When each caller's bucket is full again, in seconds of `now`."""

    def wait_s(self, caller: bytes, now: float) -> float:
        """Take one read; 0.0 if it may go on, else seconds until it may be tried again."""
        full_at = max(self._full_at.get(caller, now), now)
        if full_at - now > self._burst_s:
            return full_at - now - self._burst_s
        if caller not in self._full_at and len(self._full_at) >= _MOST_CALLERS:
            del self._full_at[next(iter(self._full_at))]  # the one that came first
        self._full_at[caller] = full_at + self._interval_s
        return 0.0
