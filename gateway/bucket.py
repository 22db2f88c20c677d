"""Token bucket in the memory of one process. No I/O and no clock."""

from __future__ import annotations

_ROUNDING_S = 1e-9


class TokenBucket:
    """Token bucket, stored as the time at which it will be full (GCRA, ITU-T I.371)."""

    __slots__ = ("_burst_s", "_full_at", "_interval_s")

    def __init__(self, per_s: float, burst: float) -> None:
        """Create a full bucket. `per_s` tokens flow in each second; it holds `burst` tokens."""
        self._interval_s = 1.0 / per_s
        self._burst_s = (burst - 1.0) * self._interval_s
        self._full_at = 0.0

    def take(self, now: float) -> float:
        """Take one token and return 0.0, or the seconds until there is one. `now` never goes back.

        The unit of `now` is a second of any monotonic clock.
        """
        full_at = max(self._full_at, now)
        wait_s = full_at - now - self._burst_s
        if wait_s > _ROUNDING_S:
            return wait_s
        self._full_at = full_at + self._interval_s
        return 0.0

    def wait_s(self, now: float, amount: float = 1.0) -> float:
        """Return the seconds until there are so many tokens; 0.0 if there are. More tokens than the
        bucket holds are there when it is full.
        """
        needed_s = min(amount * self._interval_s, self._burst_s + self._interval_s)
        wait_s = max(self._full_at, now) - now + needed_s - self._burst_s - self._interval_s
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def spend(self, now: float, amount: float) -> None:
        """Take tokens, even more than there are, or give them back if `amount` is negative."""
        self._full_at = max(self._full_at, now) + amount * self._interval_s
