"""Pacing of new requests: they begin for a short time in each turn of the event loop, so that
streams are not delayed.

If many requests arrive at once, the event loop would begin all of them before it polls its sockets
again: 200 requests delay every stream by 10 ms. With pacing, the loop polls in between. The limit
is a time and not a number, because a request takes 25 µs to begin, or some milliseconds with a
large body.

Streams go first, but not forever: where they keep the loop busy, requests that have waited for
`PATIENCE_S` get a share of its time.

Requests that wait take turns by the client connection they came on, so that a bridge that begins
many generations holds up its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

TURN_S = 0.0003
"""Time of one turn of the loop, in seconds, after which no request begins in it.

An event waits for it and for the answers to the requests, which take twice as long. A shorter time
makes the loop poll more often, which costs each of many requests more.
"""
PATIENCE_S = 0.5
"""Wait of a request, in seconds, after which requests begin for longer in a turn."""
SHARE = 0.4
"""Time for beginnings after that, as a share of what everything else took since those of the last
turn. Without it, 4 000 streams that keep the loop busy would let a request begin after a second.

From the start of a crowd on, it would be wrong: the answers to its requests count as everything
else, too, so each turn would be longer than the one before, up to 50 ms.
"""
LONGEST_S = 0.01
"""Longest time for beginnings in one turn, in seconds."""


class Turns:
    """Pacing of the new requests of one event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`clock` returns seconds."""
        self._loop = loop
        self._clock = clock
        self._until = 0.0
        """Time after which no request begins in this turn, if one has begun in it."""
        self._paused_at = 0.0
        """Time at which requests began to wait for the next turn."""
        self._waiting: OrderedDict[Hashable, deque[tuple[Callable[[], None], float]]] = (
            OrderedDict()
        )
        """Requests that wait, each with the time at which it arrived, by the connection they came
        on. The first one is next.
        """
        self._scheduled = False

    @property
    def waiting(self) -> int:
        """Number of owners whose requests wait."""
        return len(self._waiting)

    def take(self, begin: Callable[[], None], owner: Hashable) -> None:
        """Call `begin` now, or in a later turn of the loop if the time of this one is over.
        `owner` stands for the client connection that the request came on.
        """
        now = self._clock()
        if not self._scheduled:
            self._scheduled = True
            self._until = now + TURN_S
            self._loop.call_soon(self._next_turn)
        elif self._waiting or now >= self._until:
            if not self._waiting:
                self._paused_at = now
            self._waiting.setdefault(owner, deque()).append((begin, now))
            return
        begin()

    def _next_turn(self) -> None:
        waiting = self._waiting
        self._scheduled = bool(waiting)
        if not waiting:
            return
        self._loop.call_soon(self._next_turn)
        clock = self._clock
        now = clock()
        time_s = TURN_S
        _, arrived = next(iter(waiting.values()))[0]
        if now - arrived > PATIENCE_S:
            time_s = min(max(TURN_S, SHARE * (now - self._paused_at)), LONGEST_S)
        self._until = until = now + time_s
        while True:  # one begins in any case
            owner, begins = waiting.popitem(last=False)
            begin, _ = begins.popleft()
            if begins:
                waiting[owner] = begins  # behind the others
            begin()
            if not waiting:
                return
            now = clock()
            if now >= until:
                self._paused_at = now
                return
