"""A gate before a backend: so many pass at once, so many wait, nobody for longer than it says."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from gateway.admission.fair_queue import Entry, FairQueue
from gateway.errors import QueueFull, QueueTimeout

_SMOOTHING = 0.1
"""Weight of the newest pass in the mean time between two."""


@dataclass(frozen=True, slots=True)
class GateOptions:
    """`concurrency` pass at once, `queue` wait, for `max_wait_s` at most."""

    concurrency: int
    queue: int
    max_wait_s: float


class Place:
    """Where somebody waits in a queue."""

    __slots__ = ("_deadline", "_entry", "_loop", "_queue")

    def __init__(
        self,
        queue: FairQueue,
        entry: Entry,
        longest_s: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._queue = queue
        self._entry = entry
        self._loop = loop
        self._deadline = loop.time() + longest_s

    @property
    def position(self) -> int:
        """1: it is next."""
        return self._queue.position(self._entry) + 1

    @property
    def left_s(self) -> float:
        """Seconds until it is given up."""
        return max(0.0, self._deadline - self._loop.time())


class Gate:
    """One for each upstream, and for each model that has its own limit."""

    def __init__(self, name: str, options: GateOptions) -> None:
        self.name = name
        self.passing = 0
        """How many are through, and have not left."""
        self.options = options
        self._queue = FairQueue()
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._interval_s: float | None = None
        self._left_at: float | None = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def enter(
        self,
        tenant: str,
        *,
        priority: int = 0,
        weight: float = 1.0,
        patience_s: float | None = None,
        told: Callable[[Place], None] | None = None,
    ) -> int:
        """Pass, or wait for it, for `patience_s` at most. Whoever passed has to `leave`; who has to
        wait is `told` where.

        Returns how many went before. Raise QueueFull or QueueTimeout.
        """
        options = self.options
        if self.passing < options.concurrency and not self._queue:
            self.passing += 1
            return 0
        if len(self._queue) >= options.queue:
            raise QueueFull(self.name, self._retry_after_s())
        entry = self._queue.add(tenant, priority=priority, weight=weight)
        position = self._queue.position(entry)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns[id(entry)] = turn
        longest_s = options.max_wait_s
        if patience_s is not None:
            longest_s = min(longest_s, patience_s)
        if told is not None:
            told(Place(self._queue, entry, longest_s, loop))
        try:
            async with asyncio.timeout(longest_s):
                await turn
        except TimeoutError:
            self._give_up(entry, turn)
            raise QueueTimeout(self.name, self._retry_after_s()) from None
        except BaseException:
            self._give_up(entry, turn)
            raise
        return position + 1

    def leave(self) -> None:
        """Let the next one pass."""
        now = asyncio.get_running_loop().time()
        if self._left_at is not None:
            interval_s = now - self._left_at
            mean_s = self._interval_s
            self._interval_s = (
                interval_s if mean_s is None else mean_s + _SMOOTHING * (interval_s - mean_s)
            )
        self._left_at = now
        self.passing -= 1
        self._wake()

    def _wake(self) -> None:
        while self.passing < self.options.concurrency and (entry := self._queue.next()):
            turn = self._turns.pop(id(entry))
            if not turn.cancelled():  # who was cancelled just now gives up at its next step
                self.passing += 1
                turn.set_result(None)

    def _give_up(self, entry: Entry, turn: asyncio.Future[None]) -> None:
        """Whoever stops waiting in the very moment its turn came passes the turn on."""
        if turn.done() and not turn.cancelled():
            self.passing -= 1
            self._wake()
            return
        self._turns.pop(id(entry), None)
        self._queue.remove(entry)

    def _retry_after_s(self) -> int:
        """When those who wait now will have passed, at the pace of the last ones."""
        if self._interval_s is None:
            return max(1, math.ceil(self.options.max_wait_s))
        return max(1, math.ceil((len(self._queue) + 1) * self._interval_s))
