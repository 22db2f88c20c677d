"""Letting requests begin a few at a time, so that streams are not kept waiting.

When a crowd of requests arrives at once, the event loop would begin all of them before it looks at
a socket again: 200 of them hold every stream up for 15 ms. Between a few of them it looks. How few
is a trade: looking costs, and where nothing streams nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_BESIDE_STREAMS = 2
_ALONE = 16


class Turns:
    """Of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.streams = 0
        """Responses that are under way."""
        self._loop = loop
        self._left = _ALONE
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def take(self, begin: Callable[[], None]) -> None:
        """Call `begin` now, or in a later turn of the loop if this one has begun enough."""
        if self._left:
            self._left -= 1
            begin()
        else:
            self._waiting.append(begin)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        each = self._left = _BESIDE_STREAMS if self.streams else _ALONE
        while self._waiting and self._left:
            self._left -= 1
            self._waiting.popleft()()
        self._scheduled = self._left < each
        if self._scheduled:
            self._loop.call_soon(self._next_turn)
