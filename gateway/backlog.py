"""Work that connections leave for later turns of the event loop, done a little in each turn.

One read can bring a connection tens of thousands of small messages. A connection does a bounded
part of that at once, stops reading, and adds the rest here. All connections share the time: what a
turn takes does not grow with the number of those that wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

STEPS_A_TURN = 2
"""A step takes about 0.1 ms, and a turn without any 0.03 ms."""


class Backlog:
    """The waiting work of one event loop, in the order in which it came."""

    __slots__ = ("_loop", "_scheduled", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def add(self, step: Callable[[], None]) -> None:
        """Call `step` in a later turn of the loop. It does little, and adds itself for more."""
        self._waiting.append(step)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        waiting = self._waiting
        try:
            for _ in range(min(STEPS_A_TURN, len(waiting))):
                waiting.popleft()()
        finally:
            self._scheduled = bool(waiting)
            if waiting:
                self._loop.call_soon(self._turn)
