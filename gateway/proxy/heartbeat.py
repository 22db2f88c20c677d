"""Heartbeats: comments that keep a silent event stream alive.

Proxies and clients close a connection that is silent for a minute, and reasoning models are silent
for longer. Clients ignore a comment (WHATWG HTML section 9.2.6) between two events. The comment is
one line, `: heartbeat`, without a blank line after it: see `sse.comment` for the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway import sse

COMMENT = sse.comment(b"heartbeat")
_LOOKS = 4
"""Checks of a stream in one interval. Periodic checks add no cost to the writes themselves."""
_MOST_SLOTS = 16
_SHORTEST_TICK_S = 0.1


class Heartbeat:
    """Heartbeat of one stream. It runs until it is closed."""

    __slots__ = ("_beat", "_quiet_looks", "_seen", "_slot", "_written")

    def __init__(
        self,
        slot: set[Heartbeat],
        written: Callable[[], int],
        beat: Callable[[], bool],
        quiet_looks: int,
    ) -> None:
        self._slot = slot
        self._written = written
        self._beat = beat
        self._seen = written()
        self._quiet_looks = quiet_looks
        slot.add(self)

    def close(self) -> None:
        """Stop the heartbeat."""
        self._slot.discard(self)
        # The callbacks refer to the stream, which refers to this object. Break the reference cycle,
        # which only the garbage collector could free.
        self._written, self._beat = _nothing, _never

    def look(self) -> None:
        """Check whether anything was written since the last check; send a heartbeat after a silent
        interval.
        """
        written = self._written()
        if written != self._seen:
            self._seen = written
            self._quiet_looks = 0
            return
        self._quiet_looks += 1
        if self._quiet_looks >= _LOOKS and self._beat():
            self._quiet_looks = 0


def _nothing() -> int:
    return 0


def _never() -> bool:
    return False


class Heartbeats:
    """All heartbeats of a route. One timer serves them all, and checks a few streams at each tick:
    a timer for each stream would cost more than everything else here.
    """

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._look_s = interval_s / _LOOKS
        slots = max(1, min(_MOST_SLOTS, int(self._look_s / _SHORTEST_TICK_S)))
        self._slots: list[set[Heartbeat]] = [set() for _ in range(slots)]
        self._turn = 0
        self.running = False
        """True while the timer runs."""

    def watch(
        self, written: Callable[[], int], beat: Callable[[], bool], *, silent_s: float = 0.0
    ) -> Heartbeat:
        """Call `beat` when nothing was written for an interval: not sooner, at most a quarter
        interval later, and again after each further interval of silence.

        `written` returns the bytes written so far, without heartbeats. `beat` returns True if it
        could write; if False, it is called again at the next check. `silent_s` is the silence so
        far in seconds.
        """
        if not self.running:
            self.running = True
            self._wait()
        quiet_looks = min(_LOOKS, int(silent_s / self._look_s)) - 1
        return Heartbeat(self._slots[self._turn], written, beat, quiet_looks)

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._look_s / len(self._slots), self.tick)

    def tick(self) -> None:
        """Check the streams whose turn it is. Called by the timer."""
        self._turn = (self._turn + 1) % len(self._slots)
        for heartbeat in tuple(self._slots[self._turn]):
            heartbeat.look()
        self.running = any(self._slots)
        if self.running:
            self._wait()
