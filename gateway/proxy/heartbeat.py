"""Heartbeats: comments that keep a silent event stream from being taken for a dead one.

Proxies and clients give up on a connection that says nothing for a minute, and reasoning models
say nothing for longer. Clients skip a comment (WHATWG HTML section 9.2.6) between two events. It is
one line, `: heartbeat`, without a blank line behind it: see `sse.comment` for the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway import sse

COMMENT = sse.comment(b"heartbeat")
_LOOKS = 4
"""Looks at a stream in an interval. Looking now and then is what lets a write cost nothing more."""
_MOST_SLOTS = 16
_SHORTEST_TICK_S = 0.1


class Heartbeat:
    """Of one stream. It goes on until it is closed."""

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
        """No more beats."""
        self._slot.discard(self)
        # They know the stream, which knows this: the circle would be the garbage collector's.
        self._written, self._beat = _nothing, _never

    def look(self) -> None:
        """See whether anything was written since the last look."""
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
    """The heartbeats of a route. One timer serves them all: one for each stream would cost more
    than all else that is done here. It looks at a few streams at a time.
    """

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._look_s = interval_s / _LOOKS
        slots = max(1, min(_MOST_SLOTS, int(self._look_s / _SHORTEST_TICK_S)))
        self._slots: list[set[Heartbeat]] = [set() for _ in range(slots)]
        self._turn = 0
        self._ticks = False

    def watch(
        self, written: Callable[[], int], beat: Callable[[], bool], *, silent_s: float = 0.0
    ) -> Heartbeat:
        """Have `beat` called when nothing was written for an interval, not sooner and up to a
        quarter of it later, and then after each further one.

        `written` says how much was written so far, beats not counted; `beat` says whether it could:
        if not, it is asked again soon. `silent_s` is for how long there has been silence.
        """
        if not self._ticks:
            self._ticks = True
            self._wait()
        quiet_looks = min(_LOOKS, int(silent_s / self._look_s)) - 1
        return Heartbeat(self._slots[self._turn], written, beat, quiet_looks)

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._look_s / len(self._slots), self._tick)

    def _tick(self) -> None:
        self._turn = (self._turn + 1) % len(self._slots)
        for heartbeat in tuple(self._slots[self._turn]):
            heartbeat.look()
        self._ticks = any(self._slots)
        if self._ticks:
            self._wait()
