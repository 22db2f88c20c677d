"""Slices of long work in the event loop, so that streams pass in between."""

from __future__ import annotations

import asyncio
import time

_SLICE_S = 0.0005
"""Time for which the work holds the event loop: about the delay of an event on a busy worker."""


class WorkSlices:
    """Slices of one piece of work, which asks after each step whether its slice is over."""

    def __init__(self) -> None:
        self._end = time.perf_counter() + _SLICE_S

    @property
    def over(self) -> bool:
        """True if it is the turn of others: then await `pause`."""
        return time.perf_counter() >= self._end

    async def pause(self) -> None:
        """Let the event loop do what is due, then begin the next slice."""
        await asyncio.sleep(0)
        self._end = time.perf_counter() + _SLICE_S
