"""Expiry of streams: when the credential of the caller expires, or after `max_stream`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gateway.client_connection import BodyWriter

_LONGEST_S = 3600.0
"""Longest time between two checks, in seconds. The wall clock may be changed in between."""


class Expiry:
    """Watch over one stream that has to end at a time of the wall clock."""

    __slots__ = ("_at", "_end", "_loop", "_timer", "_writer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        writer: BodyWriter,
        at: float,
        end: Callable[[], None],
    ) -> None:
        """Start to watch. `at` is in seconds since the epoch. `end` is called then."""
        self._loop = loop
        self._writer = writer
        self._at = at
        self._end = end
        self._timer: asyncio.Handle | None = None
        self._look()

    def close(self) -> None:
        """Stop watching: the stream has ended, or another writer continues it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        left_s = self._at - time.time()
        if left_s > 0:
            self._timer = self._loop.call_later(min(left_s, _LONGEST_S), self._look)
        elif self._writer.is_stream:
            # A writer that is just being attached cannot be ended yet.
            self._timer = self._loop.call_soon(self._end)
