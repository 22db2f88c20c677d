"""Pacing of new requests: they begin for a short time in each turn of the event loop, so that
streams are not delayed.

If many requests arrive at once, the event loop would begin all of them before it polls its sockets
again: 200 requests delay every stream by 10 ms. With pacing, the loop polls in between. The limit
is a time and not a number, because a request takes 25 µs to begin, or some milliseconds with a
large body.

Streams go first, but not forever: where they keep the loop busy, requests that have waited for
`PATIENCE_S` get a share of its time.

Requests that wait take turns by the client connection they came on, so that a bridge that begins
many generations holds up its own. Without a bridge, a connection has one request that waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

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

Begin = Callable[[], None]
"""Function that begins a request."""


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
        self._asked_at = 0.0
        """Time of the last `take`."""
        self._waiting: deque[tuple[Begin, float, str]] = deque()
        """Requests that wait, each with the time at which it arrived and its owner. The first is
        next.
        """
        self._behind: dict[str, deque[tuple[Begin, float]]] = {}
        """Further requests of the owners that have one in `_waiting`."""
        self._scheduled = False

    @property
    def waiting(self) -> int:
        """Number of requests that wait; those of one owner count once."""
        return len(self._waiting)

    def take(self) -> bool:
        """Tell whether a request may begin now. Otherwise it has to `wait`."""
        self._asked_at = now = self._clock()
        if not self._scheduled:
            self._scheduled = True
            self._until = now + TURN_S
            self._loop.call_soon(self._next_turn)
            return True
        return not self._waiting and now < self._until

    def wait(self, begin: Begin, owner: str = "") -> None:
        """Call `begin` in a later turn of the loop: `take` has just returned False. Requests of one
        `owner` take turns with all others as if they were one; without an owner, each is one.
        """
        now = self._asked_at
        if owner:
            behind = self._behind.get(owner)
            if behind is not None:
                behind.append((begin, now))
                return
            self._behind[owner] = deque()
        if not self._waiting:
            self._paused_at = now
        self._waiting.append((begin, now, owner))

    def _next_turn(self) -> None:
        waiting = self._waiting
        self._scheduled = bool(waiting)
        if not waiting:
            return
        self._loop.call_soon(self._next_turn)
        clock = self._clock
        now = clock()
        time_s = TURN_S
        _, arrived, _ = waiting[0]
        if now - arrived > PATIENCE_S:
            time_s = min(max(TURN_S, SHARE * (now - self._paused_at)), LONGEST_S)
        self._until = until = now + time_s
        while True:  # one begins in any case
            begin, _, owner = waiting.popleft()
            if owner:
                self._next_of(owner)
            begin()
            if not waiting:
                return
            now = clock()
            if now >= until:
                self._paused_at = now
                return

    def _next_of(self, owner: str) -> None:
        """Let the next request of this owner wait behind those of all others."""
        behind = self._behind[owner]
        if behind:
            begin, arrived = behind.popleft()
            self._waiting.append((begin, arrived, owner))
        else:
            del self._behind[owner]
