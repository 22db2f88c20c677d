"""A deadline that moves often and is rarely reached, such as the timeout of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

NEVER = float("inf")


class MovingDeadline:
    """Deadline with one timer, which is not set again when the deadline moves to a later time.

    The timer then fires too early, and is set to the deadline of that moment. One timer therefore
    serves many requests. All times are those of the event loop's clock, in seconds.
    """

    __slots__ = ("_expired", "_loop", "_timer", "at", "timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        """`expired` is called when the deadline is reached. The deadline stays as it is: move it
        for another call.
        """
        self.at = NEVER
        """The deadline. To save a call, assign to it directly, and call `move` only if it is before
        `timer_at`, as it rarely is.
        """
        self._loop = loop
        self._expired = expired
        self._timer: asyncio.TimerHandle | None = None
        self.timer_at = NEVER
        """Time at which the timer fires; NEVER if it is not set."""

    def move(self, at: float) -> None:
        """Set the deadline, to an earlier or later time. NEVER stops it."""
        self.at = at
        if at < self.timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self.timer_at = at
            self._timer = self._loop.call_at(at, self._fire)

    def close(self) -> None:
        """Stop for good. Later moves have no effect."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.timer_at = -NEVER
        self._expired = _nothing  # no reference cycle with the owner

    def _fire(self) -> None:
        self._timer = None
        self.timer_at = NEVER
        if self._loop.time() < self.at:
            self.move(self.at)
        else:
            self._expired()


def _nothing() -> None:
    pass
