"""Watch over the event loop: no request may hold it for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.support.block import AsyncBlock

_PAUSE_S = 0.001


class LoopHold(AsyncBlock):
    """Watch over the event loop while the block lasts."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        """`clock` counts CPU time, because other processes may take the core at any time. To find
        what blocks without work, pass `time.perf_counter`.
        """
        self.longest_s = 0.0
        """Longest time between two turns of the loop, in seconds of the clock."""
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    async def _enter(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def _leave(self, error: BaseException | None) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _watch(self) -> None:
        while True:
            began = self._clock()
            try:
                await asyncio.sleep(_PAUSE_S)
            finally:  # the last turn may be the longest
                self.longest_s = max(self.longest_s, self._clock() - began)
