"""The health of one endpoint, as a state machine. No I/O.

    HEALTHY ── consecutive failures, or slowness ──▶ EJECTED ── time is over ──▶ PROBING
       ▲                                                ▲                           │
       └── WARMING ◀── enough successes ────────────────┼───────────────────────────┤
                                                        └── a failure ──────────────┘

Three more states are set from outside: UNHEALTHY by active checks, DRAINING by an operator, and
COOLING by the backend itself with 429 and Retry-After. The numbers are Envoy's
(outlier_detection.proto): five failures; 30 s times the number of ejections, at most 300 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_NEVER = float("inf")


class EndpointState(Enum):
    """State of an endpoint, which decides whether requests may go there."""

    HEALTHY = "healthy"
    WARMING = "warming"
    """Readmitted after an ejection: its share of requests grows (slow start)."""
    PROBING = "probing"
    """Half-open: a few requests test whether it has recovered."""
    COOLING = "cooling"
    """The endpoint answered 429 and asked for a pause. Others are preferred."""
    EJECTED = "ejected"
    """Ejected, because its answers failed or were much slower than those of its siblings."""
    UNHEALTHY = "unhealthy"
    """Active health checks fail."""
    DRAINING = "draining"
    """Taken out of service by an operator."""


@dataclass(frozen=True, slots=True)
class HealthOptions:
    """Rules for ejection and readmission. Times in seconds."""

    failures: int = 5
    """Consecutive failures before ejection."""
    base_s: float = 30.0
    longest_s: float = 300.0
    probes: int = 1
    """Maximum number of simultaneous requests while half-open."""
    successes: int = 3
    """Consecutive successes before readmission."""
    slow_start_s: float = 10.0
    """Duration of slow start, in which the share of requests grows to the full weight."""
    healthy_checks: int = 2
    unhealthy_checks: int = 3


class _Phase(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    WARMING = "warming"


class Health:
    """The health of one endpoint. Every `now` is a time of one monotonic clock, in seconds."""

    def __init__(self, options: HealthOptions) -> None:
        self.reason = ""
        """Reason why the endpoint is not healthy, for people."""
        self.slow = False
        """True if the last ejection was for slowness: answers are late, but correct."""
        self.ejections = 0
        """Number of recent ejections. Each makes the next one longer."""
        self.options = options
        self._phase = _Phase.CLOSED
        self._until = 0.0
        """Time at which the phase ends by itself."""
        self.streak = 0
        """Consecutive failures; while half-open, consecutive successes."""
        self._cool_until = 0.0
        self._drained = False
        self._check_failing = False
        self._check_streak = 0
        self._check_reason = ""
        self._forgive_at = _NEVER

    def state(self, now: float) -> EndpointState:
        """Return the state of the endpoint."""
        self._pass_time(now)
        if self._drained:
            return EndpointState.DRAINING
        if self._check_failing:
            return EndpointState.UNHEALTHY
        if self._phase is _Phase.OPEN:
            return EndpointState.EJECTED
        if self._phase is _Phase.HALF_OPEN:
            return EndpointState.PROBING
        if now < self._cool_until:
            return EndpointState.COOLING
        return EndpointState.WARMING if self._phase is _Phase.WARMING else EndpointState.HEALTHY

    def changes_at(self, now: float) -> float:
        """Return the latest time by which the state or the share changes without an event."""
        ends = self._until if self._phase in (_Phase.OPEN, _Phase.WARMING) else _NEVER
        if self._phase is _Phase.WARMING:
            ends = min(ends, now + self.options.slow_start_s / 10)
        return min(ends, self._cool_until if now < self._cool_until else _NEVER)

    def why(self, now: float) -> str:
        """Return the reason for the state, for people; empty if there is none."""
        state = self.state(now)
        if state is EndpointState.DRAINING:
            return "drained by an operator"
        if state is EndpointState.UNHEALTHY:
            return self._check_reason
        if state is EndpointState.EJECTED:
            return f"{self.reason}; {self._until - now:.0f} s left"
        if state is EndpointState.COOLING:
            return f"asked for a pause; {self._cool_until - now:.0f} s left"
        if self.failing:
            return f"failed {self.streak} times in a row; stays since too many are out"
        return self.reason if state in (EndpointState.PROBING, EndpointState.WARMING) else ""

    def share(self, now: float) -> float:
        """Return the factor on the endpoint's weight, from 0.1 to 1. It grows during slow start."""
        if self._phase is not _Phase.WARMING:
            return 1.0
        slow_start_s = self.options.slow_start_s
        return min(1.0, max(0.1, 1.0 - (self._until - now) / slow_start_s))

    # -- results of requests ---------------------------------------------------------------

    @property
    def failing(self) -> bool:
        """True if it should be ejected for failures, but too many endpoints are already ejected."""
        counts = self._phase is _Phase.CLOSED or self._phase is _Phase.WARMING
        return counts and self.streak >= self.options.failures

    def succeeded(self) -> bool:
        """Record that an answer is complete. Return True if this ended `failing`."""
        if not self.streak:
            return False
        was_failing = self.failing
        if self._phase is _Phase.CLOSED or self._phase is _Phase.WARMING:
            self.streak = 0
        return was_failing

    def answered(self, now: float) -> bool:
        """Record that an answer began that is no server error. Return True if the state changed."""
        if self._phase is _Phase.CLOSED:
            return False
        self._pass_time(now)
        if self._phase is not _Phase.HALF_OPEN:
            return False  # the request was sent before the ejection
        self.streak += 1
        if self.streak < self.options.successes:
            return False
        self._let_in(now)
        return True

    def failed(self, now: float) -> bool:
        """Record a missing answer or server error. Return True if an ejection is due."""
        self._pass_time(now)
        if self._phase is _Phase.HALF_OPEN:
            self.streak = 0
            return True
        if self._phase is _Phase.OPEN:
            return False
        self.streak += 1
        return self.streak >= self.options.failures

    def eject(self, now: float, reason: str, *, slow: bool = False) -> None:
        """Eject the endpoint, each time for longer. `slow`: for slowness, not for errors."""
        if now >= self._forgive_at:
            self.ejections = 0
        self.ejections += 1
        self.reason = reason
        self.slow = slow
        self.streak = 0
        self._phase = _Phase.OPEN
        length_s = min(self.options.base_s * self.ejections, self.options.longest_s)
        self._until = now + length_s
        self._forgive_at = _NEVER

    def readmit(self, now: float) -> None:
        """End the ejection early, because endpoints that do not answer at all need its place."""
        self.reason = "back early: others fail"
        self._let_in(now)

    def cool(self, now: float, pause_s: float) -> None:
        """Prefer other endpoints for `pause_s` seconds."""
        self._cool_until = max(self._cool_until, now + pause_s)

    # -- results of checks, commands of operators ------------------------------------------

    def checked(self, now: float, failure: str | None) -> bool:
        """Record a check that passed (None) or failed. Return True if the state changed."""
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
            # Earlier failures no longer count: the backend has probably been replaced.
            self.reason = "passes its checks again"
            self._let_in(now)
        return True

    def drain(self, *, out: bool) -> None:
        """Take the endpoint out of service, or back in."""
        self._drained = out

    # -- transitions -----------------------------------------------------------------------

    def _let_in(self, now: float) -> None:
        self.streak = 0
        slow_start_s = self.options.slow_start_s
        self._phase = _Phase.WARMING if slow_start_s else _Phase.CLOSED
        self._until = now + slow_start_s
        # After a healthy time as long as the longest ejection, ejections are counted from 0 again.
        self._forgive_at = now + self.options.longest_s
        if not slow_start_s:
            self.reason = ""

    def _pass_time(self, now: float) -> None:
        if now < self._until:
            return
        if self._phase is _Phase.OPEN:
            self._phase = _Phase.HALF_OPEN
            self.streak = 0
        elif self._phase is _Phase.WARMING:
            self._phase = _Phase.CLOSED
            self.reason = ""
