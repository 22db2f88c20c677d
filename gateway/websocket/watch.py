"""What ends a session in time: silence, a credential that runs out, a side that answers no ping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import CredentialExpired, GatewayError
from gateway.websocket.peer import Rate

_STANDING_S = 1.0
"""How often a caller is looked at again."""
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a route says about its sessions. Times in seconds, sizes in bytes."""

    max_message_bytes: int
    idle_s: float
    ping_s: float | None
    """None for no pings."""
    messages: Callable[[], Rate] | None
    """Makes the bucket that a client's messages are counted in."""


class Standing(Protocol):
    """Whether who began a session may go on with it."""

    def holds(self) -> bool:
        """Whether it does now."""

    def left_s(self) -> float:
        """Seconds until it ends by itself."""


class Watched(Protocol):
    """A session."""

    def fail(self, error: GatewayError) -> None:
        """It has to end."""

    def idle(self) -> None:
        """Nothing was said for too long."""

    def ask(self) -> None:
        """It is time for a ping."""


class Watch:
    """One timer for all of it."""

    __slots__ = (
        "_idle_s",
        "_loop",
        "_ping_at",
        "_ping_s",
        "_standing",
        "_stopped",
        "_timer",
        "_watched",
        "active_at",
    )

    def __init__(
        self, watched: Watched, options: SessionOptions, standing: Standing | None
    ) -> None:
        """`standing`: None for callers nobody asked who they are."""
        self._watched = watched
        self._loop = asyncio.get_running_loop()
        self._idle_s = options.idle_s
        self._ping_s = _NEVER if options.ping_s is None else options.ping_s
        self._standing = standing
        self.active_at = self._loop.time()
        """When something was said last; to be kept up to date."""
        self._ping_at = self.active_at + self._ping_s
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """See to what is due, and come back when the next of it is. The first call begins it."""
        now, standing = self._loop.time(), self._standing
        if standing is not None and not standing.holds():
            self._watched.fail(CredentialExpired())
        elif now >= self.active_at + self._idle_s:
            self._watched.idle()
        elif now >= self._ping_at:
            self._ping_at = now + self._ping_s
            self._watched.ask()
        if self._stopped:
            return
        next_at = min(self.active_at + self._idle_s, self._ping_at)
        if standing is not None:
            next_at = min(next_at, now + min(_STANDING_S, standing.left_s()))
        self._timer = self._loop.call_at(next_at, self.look)

    def stop(self) -> None:
        """Watch no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
