"""Session timer: idle timeout, expired credentials and missing answers to pings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.bucket import TokenBucket
from gateway.errors import CredentialExpired, GatewayError

_VALIDITY_S = 1.0
"""Maximum seconds between two checks of the caller's credential."""
_NEVER = float("inf")
_WARNING_S, _WARNING_SHARE = 30.0, 0.1
"""Time before the end of a session at which it is warned: so many seconds, or that share of its
lifetime if that is shorter.
"""
_BOUNDARY_S = 5.0
"""Maximum seconds that a session at its end waits for the end of a message."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Session settings of a route. Times in seconds, sizes in bytes."""

    max_message_bytes: int
    idle_s: float
    ping_s: float | None
    """Interval between pings; None for no pings."""
    messages: Callable[[], TokenBucket] | None
    """Factory of the token bucket that limits a client's messages; None for no limit."""
    lifetime_s: float | None = None
    """Maximum duration of a session; None for no limit."""


class Validity(Protocol):
    """Validity of the credential that began a session."""

    def holds(self) -> bool:
        """True if the credential is valid now."""

    def left_s(self) -> float:
        """Return the seconds until the credential expires."""


class Watched(Protocol):
    """Session that a Watch observes."""

    def fail(self, error: GatewayError) -> None:
        """End the session because of this error."""

    def idle(self) -> None:
        """Handle the idle timeout."""

    def ping(self) -> None:
        """Send a ping."""

    def warn(self, left_s: float) -> None:
        """Announce that the session ends soon, because of its lifetime."""

    def expire(self) -> None:
        """Handle the end of the lifetime. Called again if the session continues after it."""


class Watch:
    """One timer for all time limits of a session."""

    __slots__ = (
        "_ends_at",
        "_idle_s",
        "_loop",
        "_ping_at",
        "_ping_s",
        "_stopped",
        "_timer",
        "_validity",
        "_warns_at",
        "_watched",
        "active_at",
    )

    def __init__(
        self, watched: Watched, options: SessionOptions, validity: Validity | None
    ) -> None:
        """Create the watch. `validity` is None if callers are not authenticated."""
        self._watched = watched
        self._loop = asyncio.get_running_loop()
        self._idle_s = options.idle_s
        self._ping_s = _NEVER if options.ping_s is None else options.ping_s
        self._validity = validity
        self.active_at = self._loop.time()
        """Time of the last message, in seconds of the loop's clock. Updated by the session."""
        self._ping_at = self.active_at + self._ping_s
        lifetime_s = _NEVER if options.lifetime_s is None else options.lifetime_s
        self._ends_at = self.active_at + lifetime_s
        self._warns_at = self._ends_at - min(_WARNING_S, lifetime_s * _WARNING_SHARE)
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Handle what is due and schedule the next check. The first call starts the timer."""
        now, validity = self._loop.time(), self._validity
        if validity is not None and not validity.holds():
            self._watched.fail(CredentialExpired())
        elif now >= self._ends_at:
            self._ends_at = now + _BOUNDARY_S
            self._watched.expire()
        elif now >= self._warns_at:
            self._warns_at = _NEVER
            self._watched.warn(self._ends_at - now)
        elif now >= self.active_at + self._idle_s:
            self._watched.idle()
        elif now >= self._ping_at:
            self._ping_at = now + self._ping_s
            self._watched.ping()
        if self._stopped:
            return
        next_at = min(self.active_at + self._idle_s, self._ping_at, self._warns_at, self._ends_at)
        if validity is not None:
            next_at = min(next_at, now + min(_VALIDITY_S, validity.left_s()))
        self._timer = self._loop.call_at(next_at, self.look)

    def stop(self) -> None:
        """Stop the timer."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
