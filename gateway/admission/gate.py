"""Concurrency gate in front of a backend, with a bounded queue and a maximum waiting time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from gateway.admission.fair_queue import Entry, FairQueue
from gateway.errors import QueueFull, QueueTimeout

_SMOOTHING = 0.1
"""Weight of the newest interval in the moving average of the intervals between two leaves."""


@dataclass(frozen=True, slots=True)
class GateOptions:
    """`concurrency` requests pass at once; `queue` requests wait, `max_wait_s` seconds at most."""

    concurrency: int
    queue: int
    max_wait_s: float


class QueuePlace:
    """Place of a waiting request in a queue."""

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
        """Position in the queue; 1 is next."""
        return self._queue.position(self._entry) + 1

    @property
    def left_s(self) -> float:
        """Seconds until the wait times out."""
        return max(0.0, self._deadline - self._loop.time())


@dataclass(slots=True)
class QueueWait:
    """Wait of one request in the queues of its gates."""

    position: int = 0
    """Number of requests ahead of this one when it began to wait, in the longest queue."""
    seconds: float = 0.0
    """Seconds spent in all queues."""


class Gate:
    """Concurrency gate of an upstream, or of a model that has its own limit."""

    def __init__(self, name: str, options: GateOptions) -> None:
        self.name = name
        self.passing = 0
        """Number of requests that have entered and not left."""
        self.options = options
        self._queue = FairQueue()
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._interval_s: float | None = None
        self._left_at: float | None = None

    @property
    def waiting(self) -> int:
        """Number of waiting requests."""
        return len(self._queue)

    def enter_now(self) -> bool:
        """Enter if nobody waits and there is room. Call `leave` after success."""
        if self.passing < self.options.concurrency and not self._queue:
            self.passing += 1
            return True
        return False

    async def enter(
        self,
        tenant: str,
        *,
        priority: int = 0,
        weight: float = 1.0,
        patience_s: float | None = None,
        least_s: float = 0.0,
        told: Callable[[QueuePlace], None] | None = None,
    ) -> int:
        """Enter, if necessary after waiting, for `patience_s` seconds at most. Call `leave` after
        success. `least_s` replaces a shorter longest wait of the options.

        If the request has to wait, `told` is called with its place. Return the number of requests
        that were ahead. Raise QueueFull or QueueTimeout.
        """
        if self.enter_now():
            return 0
        options = self.options
        if len(self._queue) >= options.queue:
            raise QueueFull(self.name, self._retry_after_s())
        entry = self._queue.add(tenant, priority=priority, weight=weight)
        position = self._queue.position(entry)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns[id(entry)] = turn
        longest_s = max(options.max_wait_s, least_s)
        if patience_s is not None:
            longest_s = min(longest_s, patience_s)
        if told is not None:
            told(QueuePlace(self._queue, entry, longest_s, loop))
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

    def left(self, _: object) -> None:
        """Leave, at the end of the request that has entered."""
        self.leave()

    def leave(self) -> None:
        """Leave, and let the next waiting request enter."""
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
            if not turn.cancelled():  # a cancelled request runs `_give_up` at its next step
                self.passing += 1
                turn.set_result(None)

    def _give_up(self, entry: Entry, turn: asyncio.Future[None]) -> None:
        """Remove a request that stops waiting. If it was just admitted, admit the next one."""
        if turn.done() and not turn.cancelled():
            self.passing -= 1
            self._wake()
            return
        self._turns.pop(id(entry), None)
        self._queue.remove(entry)

    def _retry_after_s(self) -> int:
        """Return the seconds until the queue will have passed, at the recent rate."""
        if self._interval_s is None:
            return max(1, math.ceil(self.options.max_wait_s))
        return max(1, math.ceil((len(self._queue) + 1) * self._interval_s))
