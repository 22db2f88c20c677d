"""Garbage collection of a worker: in moments and portions that delay no stream.

Reference counts free nearly everything; the collector is for cycles. It visits every object that
could be part of one while the event loop stands still: 230 ms with 5 000 open streams, and twice
that with 10 000. So only young objects are collected often, and between two crowds of requests
where that is possible. All objects are collected when there are few: when few clients are
connected.
"""

from __future__ import annotations

import asyncio
import gc

from gateway.server.serving import Server

_YOUNG_OBJECTS = 2_000
"""Number of young objects from which on they are collected if no request waits. 5 000 take 1 ms."""
_MOST_YOUNG_OBJECTS = 10_000
"""Number of young objects at which they are collected at once. 200 streams that begin at one
instant make 7 000, and should not wait for a collection.
"""
_NEVER = 2**30
_EVERY_S = 0.25
_ALL_EVERY = 240
"""Number of checks of the young objects between two of all objects: one minute."""
_FEW_CONNECTIONS = 500
"""Number of open connections up to which all objects are collected: that takes 5 ms."""


class GarbageCollection:
    """Garbage collection of a worker. Permanent objects, such as modules, are not visited."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._retired = 0
        """Number of runtimes whose objects were permanent, and have been collected."""
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to collect. Exclude the objects that exist now: they are permanent."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(_MOST_YOUNG_OBJECTS, _NEVER, _NEVER)
        self._wait()

    def close(self) -> None:
        """Leave the collection to the process."""
        if self._timer is not None:
            self._timer.cancel()

    def look_at_young(self) -> None:
        """Collect young objects if there are many of them, and no request waits to begin."""
        if gc.get_count()[0] >= _YOUNG_OBJECTS and not self._server.listener.turns.waiting:
            gc.collect(0)

    def look(self) -> None:
        """Collect all objects if there are few of them, or if memory is short."""
        server = self._server
        is_short = server.state.overload.reason == "memory"
        if server.listener.open_connections > _FEW_CONNECTIONS and not is_short:
            return
        if server.retired != self._retired:
            # Their objects were permanent. Those of the current runtime are from now on.
            self._retired = server.retired
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        elif gc.get_count()[1]:  # otherwise no object has become old
            gc.collect()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._look_and_wait)

    def _look_and_wait(self) -> None:
        self._looks += 1
        if self._looks % _ALL_EVERY:
            self.look_at_young()
        else:
            self.look()
        self._wait()
