"""Speed of a backend, as its latest streamed answers show it."""

from __future__ import annotations

_SMOOTHING = 0.2
"""Weight of the newest value."""
_VALID_S = 60.0
"""Time after which a value says nothing any more, so that the backend is tried again."""


class MovingAverage:
    """Exponentially weighted moving average, forgotten when no value came for a minute."""

    __slots__ = ("_at", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._at = float("-inf")

    def add(self, value: float, now: float) -> None:
        """Add a value. A higher one counts at once (peak EWMA), a lower one bit by bit."""
        known = self.at(now)
        self._value = value if value > known else known + _SMOOTHING * (value - known)
        self._at = now

    def at(self, now: float) -> float:
        """Return the average; 0 if it is not known."""
        return self._value if now - self._at < _VALID_S else 0.0


class Speed:
    """Time to the first event of a streamed answer, and time for each further token. In seconds."""

    __slots__ = ("first_token", "next_token")

    def __init__(self) -> None:
        self.first_token = MovingAverage()
        self.next_token = MovingAverage()
