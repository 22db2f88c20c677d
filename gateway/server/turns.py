"""Pacing of new requests: only a few begin in one turn of the event loop, so that streams are not
delayed.

If many requests arrive at once, the event loop would begin all of them before it polls its sockets
again: 200 requests delay every stream by 15 ms. With pacing, the loop polls after every few
requests. Their number is a trade-off: polling costs time, and is of no use without streams.

Requests that wait take turns by the client connection they came on, so that a bridge that begins
many generations holds up its own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

BESIDE_STREAMS = 2
"""Requests that begin in one turn of the loop while streams are under way."""
ALONE = 16
"""Requests that begin in one turn of the loop otherwise."""


class Turns:
    """Pacing of the new requests of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.streams = 0
        """Number of response bodies being sent."""
        self._loop = loop
        self._left = ALONE
        self._waiting: OrderedDict[Hashable, deque[Callable[[], None]]] = OrderedDict()
        """Requests that wait, by the connection they came on. The first one is next."""
        self._scheduled = False

    @property
    def waiting(self) -> int:
        """Number of owners whose requests wait."""
        return len(self._waiting)

    def take(self, begin: Callable[[], None], owner: Hashable) -> None:
        """Call `begin` now, or in a later turn of the loop if enough requests began in this one.
        `owner` stands for the client connection that the request came on.
        """
        if self._left:
            self._left -= 1
            begin()
        else:
            self._waiting.setdefault(owner, deque()).append(begin)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        each = self._left = BESIDE_STREAMS if self.streams else ALONE
        while self._waiting and self._left:
            self._left -= 1
            owner, begins = self._waiting.popitem(last=False)
            begin = begins.popleft()
            if begins:
                self._waiting[owner] = begins  # behind the others
            begin()
        self._scheduled = self._left < each
        if self._scheduled:
            self._loop.call_soon(self._next_turn)
