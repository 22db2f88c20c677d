"""The health of one endpoint: what is known of it, and whether requests may go there. No I/O.

    HEALTHY ── failures in a row, or slowness ──▶ EJECTED ── its time is over ──▶ PROBING
       ▲                                             ▲                              │
       └── WARMING ◀── enough successes ─────────────┼──────────────────────────────┤
                                                     └── a failure ─────────────────┘

Beside that stand what active checks say (UNHEALTHY), what an operator says (DRAINING), and what the
backend itself asks for with 429 and Retry-After (COOLING). The numbers are Envoy's
(outlier_detection.proto): five failures, 30 s times the number of ejections, 300 s at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_NEVER = float("inf")


class State(Enum):
    """What an endpoint is good for now."""

    HEALTHY = "healthy"
    WARMING = "warming"
    """Back from an ejection: its share grows."""
    PROBING = "probing"
    """Half-open: a few requests find out whether it is well again."""
    COOLING = "cooling"
    """It asked for a pause (429): others are preferred."""
    EJECTED = "ejected"
    """Its answers failed, or took much longer than its siblings'."""
    UNHEALTHY = "unhealthy"
    """It fails its checks."""
    DRAINING = "draining"
    """An operator took it out."""


@dataclass(frozen=True, slots=True)
class HealthOptions:
    """When an endpoint is taken out, and how it comes back. Times in seconds."""

    failures: int = 5
    """In a row."""
    base_s: float = 30.0
    longest_s: float = 300.0
    probes: int = 1
    """Requests at once while half-open."""
    successes: int = 3
    """In a row, to be let back in."""
    slow_start_s: float = 10.0
    """How long its share grows until it is whole."""
    healthy_checks: int = 2
    unhealthy_checks: int = 3


class _Phase(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    WARMING = "warming"


class Health:
    """Of one endpoint. Every `now` is a time of one monotonic clock, in seconds."""

    def __init__(self, options: HealthOptions) -> None:
        self.reason = ""
        """Why it is not healthy; for people."""
        self.slow = False
        """Whether its last ejection was for slowness: its answers are late, but right."""
        self.ejections = 0
        """In the recent past; each makes the next one longer."""
        self.options = options
        self._phase = _Phase.CLOSED
        self._until = 0.0
        """When the phase ends by itself."""
        self._streak = 0
        """Failures in a row; while half-open, successes."""
        self._cool_until = 0.0
        self._drained = False
        self._check_failing = False
        self._check_streak = 0
        self._check_reason = ""
        self._forgive_at = _NEVER

    def state(self, now: float) -> State:
        """What it is good for."""
        self._pass_time(now)
        if self._drained:
            return State.DRAINING
        if self._check_failing:
            return State.UNHEALTHY
        if self._phase is _Phase.OPEN:
            return State.EJECTED
        if self._phase is _Phase.HALF_OPEN:
            return State.PROBING
        if now < self._cool_until:
            return State.COOLING
        return State.WARMING if self._phase is _Phase.WARMING else State.HEALTHY

    def changes_at(self, now: float) -> float:
        """When its state or its share changes by itself, at the latest."""
        ends = self._until if self._phase in (_Phase.OPEN, _Phase.WARMING) else _NEVER
        if self._phase is _Phase.WARMING:
            ends = min(ends, now + self.options.slow_start_s / 10)
        return min(ends, self._cool_until if now < self._cool_until else _NEVER)

    def why(self, now: float) -> str:
        """For people: why it is in its state, or an empty text."""
        state = self.state(now)
        if state is State.DRAINING:
            return "drained by an operator"
        if state is State.UNHEALTHY:
            return self._check_reason
        if state is State.EJECTED:
            return f"{self.reason}; {self._until - now:.0f} s left"
        if state is State.COOLING:
            return f"asked for a pause; {self._cool_until - now:.0f} s left"
        if self.failing:
            return f"failed {self._streak} times in a row; stays since too many are out"
        return self.reason if state in (State.PROBING, State.WARMING) else ""

    def share(self, now: float) -> float:
        """Of its weight, from 0.1 to 1: it grows while it warms up."""
        if self._phase is not _Phase.WARMING:
            return 1.0
        slow_start_s = self.options.slow_start_s
        return min(1.0, max(0.1, 1.0 - (self._until - now) / slow_start_s))

    # -- what requests tell --------------------------------------------------------------

    @property
    def failing(self) -> bool:
        """Whether it has failed often enough to be ejected, and was not, since too many are out."""
        counts = self._phase is _Phase.CLOSED or self._phase is _Phase.WARMING
        return counts and self._streak >= self.options.failures

    def succeeded(self) -> bool:
        """An answer came to its end. True if the endpoint was `failing`, and no longer is."""
        was_failing = self.failing
        if self._phase is _Phase.CLOSED or self._phase is _Phase.WARMING:
            self._streak = 0
        return was_failing

    def answered(self, now: float) -> bool:
        """An answer began that is not an error of the backend's. True if that changed the state."""
        if self._phase is _Phase.CLOSED:
            return False
        self._pass_time(now)
        if self._phase is not _Phase.HALF_OPEN:
            return False  # it was asked before
        self._streak += 1
        if self._streak < self.options.successes:
            return False
        self._let_in(now)
        return True

    def failed(self, now: float) -> bool:
        """No answer, or one that is the backend's fault. True if it should be ejected now."""
        self._pass_time(now)
        if self._phase is _Phase.HALF_OPEN:
            self._streak = 0
            return True
        if self._phase is _Phase.OPEN:
            return False
        self._streak += 1
        return self._streak >= self.options.failures

    def eject(self, now: float, reason: str, *, slow: bool = False) -> None:
        """Take it out, longer each time. `slow`: for lateness, not for errors."""
        if now >= self._forgive_at:
            self.ejections = 0
        self.ejections += 1
        self.reason = reason
        self.slow = slow
        self._streak = 0
        self._phase = _Phase.OPEN
        length_s = min(self.options.base_s * self.ejections, self.options.longest_s)
        self._until = now + length_s
        self._forgive_at = _NEVER

    def readmit(self, now: float) -> None:
        """End its ejection: others, which answer nothing at all, need its place."""
        self.reason = "back early: others fail"
        self._let_in(now)

    def cool(self, now: float, pause_s: float) -> None:
        """Prefer others for so long."""
        self._cool_until = max(self._cool_until, now + pause_s)

    # -- what checks and operators tell ----------------------------------------------------

    def checked(self, now: float, failure: str | None) -> bool:
        """A check passed (None) or failed. True if that changed the state."""
        failing = failure is not None
        if failing == self._check_failing:
            self._check_streak = 0
            if failure is not None:
                self._check_reason = failure
            return False
        self._check_streak += 1
        options = self.options
        if self._check_streak < (options.unhealthy_checks if failing else options.healthy_checks):
            return False
        self._check_streak = 0
        self._check_failing = failing
        self._check_reason = failure or ""
        if not failing:
            # Whatever it did before, it is another one now.
            self.reason = "passes its checks again"
            self._let_in(now)
        return True

    def drain(self, *, out: bool) -> None:
        """Take it out, or let it back in."""
        self._drained = out

    # -- transitions -----------------------------------------------------------------------

    def _let_in(self, now: float) -> None:
        self._streak = 0
        slow_start_s = self.options.slow_start_s
        self._phase = _Phase.WARMING if slow_start_s else _Phase.CLOSED
        self._until = now + slow_start_s
        # Well for as long as the longest ejection: then it begins anew.
        self._forgive_at = now + self.options.longest_s
        if not slow_start_s:
            self.reason = ""

    def _pass_time(self, now: float) -> None:
        if now < self._until:
            return
        if self._phase is _Phase.OPEN:
            self._phase = _Phase.HALF_OPEN
            self._streak = 0
        elif self._phase is _Phase.WARMING:
            self._phase = _Phase.CLOSED
            self.reason = ""
