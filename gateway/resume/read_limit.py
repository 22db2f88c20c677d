"""Rate limit on reads of kept streams, since each read may send a whole stream again. No clock."""

from __future__ import annotations

from gateway.bucket import TokenBucket

_MOST_CALLERS = 10_000


class ReadLimit:
    """Token buckets of one route's callers in one process. Beyond 10 000, the oldest is dropped."""

    def __init__(self, per_s: float, burst: float) -> None:
        """`per_s` is the rate in reads a second, `burst` the number of reads allowed at once."""
        self._rate = per_s, burst
        self._buckets: dict[bytes, TokenBucket] = {}

    @property
    def callers(self) -> int:
        """Number of callers that are remembered."""
        return len(self._buckets)

    def wait_s(self, caller: bytes, now: float) -> float:
        """Take one read. Return 0.0 if it is allowed, else the seconds until the next attempt."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            if len(self._buckets) >= _MOST_CALLERS:
                del self._buckets[next(iter(self._buckets))]  # the oldest entry
            bucket = self._buckets[caller] = TokenBucket(*self._rate)
        return bucket.take(now)
