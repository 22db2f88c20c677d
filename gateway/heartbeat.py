"""Heartbeats: comments that keep a silent event stream alive.

Proxies and clients close a connection that is silent for a minute, and reasoning models are silent
for longer. Clients ignore a comment (WHATWG HTML section 9.2.6) between two events. The comment is
one line, `: heartbeat`, without a blank line after it: see `sse.comment` for the reason.
"""

from __future__ import annotations

import asyncio

from gateway import sse

COMMENT = sse.comment(b"heartbeat")
_LOOKS = 4
"""Checks of a stream in one interval. Periodic checks add no cost to the writes themselves."""
_MOST_SLOTS = 16
_SHORTEST_TICK_S = 0.1
_UNSEEN = -1


class Heartbeat:
    """Heartbeat of one stream, from `Heartbeats.watch` until `stop_beating`."""

    __slots__ = ("quiet_looks", "seen", "slot")
    seen: int
    quiet_looks: int
    slot: set[Heartbeat] | None
    """Those that are checked together with this one; None while it does not run."""

    def written(self) -> int:
        """Return the bytes written so far, without heartbeats."""
        raise NotImplementedError

    def beat(self) -> bool:
        """Send a heartbeat. Return False if that is not possible now; the next check then calls
        this again.
        """
        raise NotImplementedError

    def stop_beating(self) -> None:
        """Stop the heartbeat, if it runs."""
        if self.slot is not None:
            self.slot.discard(self)
            self.slot = None

    def check(self) -> None:
        """Check whether anything was written since the last check; send a heartbeat after a silent
        interval.
        """
        if self.slot is None:
            return  # stopped by another heartbeat of the same tick
        written = self.written()
        if written != self.seen:
            self.seen = written
            self.quiet_looks = 0
            return
        self.quiet_looks += 1
        if self.quiet_looks >= _LOOKS and self.beat():
            self.quiet_looks = 0


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

    def watch(self, heartbeat: Heartbeat, silent_s: float = 0.0) -> None:
        """Call its `beat` when nothing was written for an interval: not sooner, at most a quarter
        interval later, and again after each further interval of silence.

        `silent_s` is the silence so far in seconds.
        """
        if not self.running:
            self.running = True
            self._wait()
        heartbeat.seen, heartbeat.quiet_looks = _UNSEEN, 0  # the first check sees what was written
        if silent_s >= self._look_s:
            heartbeat.seen = heartbeat.written()
            heartbeat.quiet_looks = min(_LOOKS, int(silent_s / self._look_s)) - 1
        heartbeat.slot = slot = self._slots[self._turn]
        slot.add(heartbeat)

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._look_s / len(self._slots), self.tick)

    def tick(self) -> None:
        """Check the streams whose turn it is. Called by the timer."""
        self._turn = (self._turn + 1) % len(self._slots)
        for heartbeat in tuple(self._slots[self._turn]):
            heartbeat.check()
        self.running = any(self._slots)
        if self.running:
            self._wait()
