"""Heartbeats: comments that keep a silent event stream from being taken for a dead one.

Proxies and clients give up on a connection that says nothing for a minute, and reasoning models
say nothing for longer. A comment (WHATWG HTML section 9.2.6) is nothing to a client, if it stands
between two events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway import sse

COMMENT = sse.comment(b"heartbeat")
TAIL_BYTES = 3
"""How much of what was written last `between_events` has to see."""

_LOOKS = 4
"""Looks in an interval. Looking now and then is what lets a write cost nothing more."""


def between_events(tail: bytes) -> bool:
    """Whether a comment may follow the last bytes of a stream; none means that it begins.

    Behind a CR that ends a blank line the rest of a CRLF may be on its way, unless the line
    before it ended in a CR as well.
    """
    return not tail or tail.endswith((b"\n\n", b"\n\r\n", b"\r\r", b"\r\r\n"))


class Heartbeat:
    """Calls back when nothing was written for an interval, and then after each further one.

    Not before the interval is over, and up to a quarter of it later.
    """

    __slots__ = ("_beat", "_look_s", "_loop", "_quiet_looks", "_seen", "_timer", "_written")

    def __init__(
        self, interval_s: float, written: Callable[[], int], beat: Callable[[], bool]
    ) -> None:
        """Begins at once. `written` says how much was written so far, beats not counted; `beat`
        says whether it could: if not, it is asked again soon.
        """
        self._look_s = interval_s / _LOOKS
        self._written = written
        self._beat = beat
        self._seen = written()
        self._quiet_looks = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(self._look_s, self._look)

    def close(self) -> None:
        """No more beats."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._look_s, self._look)
        written = self._written()
        if written != self._seen:
            self._seen = written
            self._quiet_looks = 0
            return
        self._quiet_looks += 1
        if self._quiet_looks >= _LOOKS and self._beat():
            self._quiet_looks = 0
