"""Pacing of new requests: they begin for a short time in each turn of the event loop, so that
streams are not delayed.

If many requests arrive at once, the event loop would begin all of them before it polls its sockets
again: 200 requests delay every stream by 10 ms. With pacing, the loop polls in between. The limit
is a time and not a number, because a request takes 25 µs to begin, or some milliseconds with a
large body. It grows with the time that everything else takes, so that streams which keep the loop
busy hold requests up no more than requests hold up streams.

Requests that wait take turns by the client connection they came on, so that a bridge that begins
many generations holds up its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

TURN_S = 0.0003
"""Time of one turn of the loop, in seconds, after which no request begins in it, if the rest of the
turn is short.

An event waits for it and for the answers to the requests, which take as long: one event in a
hundred for 1.1 ms while 200 streams begin, and for 0.8 ms with 0.2 ms. But a shorter time makes the
loop poll more often, which costs each of many requests more.
"""
SHARE = 0.4
"""Time for beginnings as a share of what everything else took since those of the last turn. Without
it, 2 000 streams that keep the loop busy would let a request begin after a second.
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
        self._waiting: OrderedDict[Hashable, deque[Callable[[], None]]] = OrderedDict()
        """Requests that wait, by the connection they came on. The first one is next."""
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
            self._waiting.setdefault(owner, deque()).append(begin)
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
        others_s = now - self._paused_at
        self._until = until = now + min(max(TURN_S, SHARE * others_s), LONGEST_S)
        while True:  # one begins in any case
            owner, begins = waiting.popitem(last=False)
            begin = begins.popleft()
            if begins:
                waiting[owner] = begins  # behind the others
            begin()
            if not waiting:
                return
            now = clock()
            if now >= until:
                self._paused_at = now
                return
