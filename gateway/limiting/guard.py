"""Circuit breaker in front of a limit store, and decisions without the store by each limit's mode.

After a failure the breaker is open for a moment. Then it lets one request through as a probe
(half-open). Meanwhile all other requests are decided here, without waiting.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum

from gateway.errors import LimitsUnavailable
from gateway.limiting.demand import Counted, Demand, Kind, Level, LimitVerdict
from gateway.limiting.store import LocalStore, Store
from gateway.store.records import StoreUnavailable

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0
_OF_SLOTS = (Kind.RELEASE, Kind.RENEW)


class OnStoreError(Enum):
    """Mode of a limit while its store is not available."""

    OPEN = "open"
    """Admit all requests."""
    CLOSED = "closed"
    """Refuse all requests with 503."""
    LOCAL = "local"
    """Count in this process only."""


class Breaker(Enum):
    """States of the circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class GuardedStore:
    """A limit store behind a circuit breaker, with a fallback while the store is not available.

    The fallback learns what the store decides: an outage begins with the levels that the store last
    reported to this process, and with the slots that its requests hold. What the fallback has
    counted stays for the next outage. So a store that fails again and again adds no bursts.
    """

    def __init__(
        self,
        store: Store,
        *,
        local: LocalStore,
        now: Callable[[], float] = time.monotonic,
        report: Callable[[str, str], None] = lambda state, reason: None,
    ) -> None:
        """`local` counts while the store is not available. If it is the store itself, the store is
        always available, and each decision is made at once. `report` is called with each change of
        the breaker, for the log.
        """
        self._store = store
        self._local = local
        self._is_local = store is local
        self.post: Callable[[Sequence[Demand]], None] = local.post if self._is_local else self._post
        """Send corrections, renewals or releases to the place where their demands were counted.
        What the store has counted gives no credit in this process, and vice versa. Does not wait.
        """
        self._now = now
        self._report = report
        self._pause_s = _FIRST_PAUSE_S
        self._closed_until = 0.0
        self.state = Breaker.CLOSED
        self.failures = 0
        """Number of failed calls."""
        self.without = 0
        """Number of decisions made without the store."""

    def decide_now(
        self, demands: list[Demand], modes: Sequence[OnStoreError]
    ) -> LimitVerdict | None:
        """Return the decision if that needs no waiting: the store is in the memory of this process,
        or in an SQLite file that no other process is writing to, or it is not available and no
        probe is due. Return None if the store has to be waited for: then await `decide` with the
        same arguments. None has no effect.

        `modes` has one entry for each demand. Demands that the store does not count are replaced in
        the list. Raise LimitsUnavailable.
        """
        if self._is_local:
            return self._local.decide_now(demands)
        if self.state is Breaker.CLOSED:
            verdict = self._store.decide_now(demands)
            if verdict is not None and not verdict.in_advance:
                self._local.learn(demands, verdict)
            return verdict
        if self._is_passable():
            return None
        return self._decide_without(demands, modes)

    async def decide(self, demands: list[Demand], modes: Sequence[OnStoreError]) -> LimitVerdict:
        """Return the decision. `modes` has one entry for each demand. Raise LimitsUnavailable."""
        if self._is_passable():
            if self.state is Breaker.OPEN:
                self.state = Breaker.HALF_OPEN
            try:
                verdict = await self._store.decide(demands)
            except StoreUnavailable as exc:
                self._failed(str(exc))
            except BaseException:
                if self.state is Breaker.HALF_OPEN:
                    self.state = Breaker.OPEN  # the probe was cancelled; the next request may probe
                raise
            else:
                self._succeeded()
                if not self._is_local:
                    self._local.learn(demands, verdict)
                return verdict
        return self._decide_without(demands, modes)

    async def look(self, demands: Sequence[Demand]) -> Sequence[Level]:
        """Return the levels for demands whose amounts are 0. While the store is not available, the
        levels are those that this process has counted.
        """
        if self.state is Breaker.CLOSED:
            with contextlib.suppress(StoreUnavailable):
                return (await self._store.decide(demands)).levels
        return self._local.decide_now(demands).levels

    def _post(self, demands: Sequence[Demand]) -> None:
        theirs = [demand for demand in demands if demand.counted is Counted.STORE]
        if theirs:
            self._store.post(theirs)
        # The fallback knows the slots of the store, too.
        self._local.post(
            [
                demand
                for demand in demands
                if demand.counted is Counted.LOCAL or demand.kind in _OF_SLOTS
            ]
        )

    def spend(self, demands: list[Demand], modes: Sequence[OnStoreError]) -> None:
        """Post demands that correct nothing: to the store, or by their modes if it is away."""
        if self.state is not Breaker.CLOSED:
            _mark(demands, modes)
        self.post(demands)

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    def _is_passable(self) -> bool:
        """Tell whether the next decision is made by the store: the breaker is closed, or a probe is
        due.
        """
        if self.state is Breaker.CLOSED:
            return True
        return self.state is Breaker.OPEN and self._now() >= self._closed_until

    def _failed(self, reason: str) -> None:
        self.failures += 1
        if self.state is Breaker.CLOSED:
            self._pause_s = _FIRST_PAUSE_S
            self._report("open", reason)
        elif self.state is Breaker.HALF_OPEN:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        else:
            return  # this call was in flight when another one failed
        self.state = Breaker.OPEN
        self._closed_until = self._now() + self._pause_s

    def _succeeded(self) -> None:
        if self.state is not Breaker.CLOSED:
            self.state = Breaker.CLOSED
            self._report("closed", "")

    def _decide_without(self, demands: list[Demand], modes: Sequence[OnStoreError]) -> LimitVerdict:
        self.without += 1
        if OnStoreError.CLOSED in modes:
            raise LimitsUnavailable
        _mark(demands, modes)
        local = [d for d, mode in zip(demands, modes, strict=True) if mode is OnStoreError.LOCAL]
        said = self._local.decide_now(local)
        levels = iter(said.levels)
        places = [i for i, mode in enumerate(modes) if mode is OnStoreError.LOCAL]
        return LimitVerdict(
            tuple(
                next(levels) if mode is OnStoreError.LOCAL else Level(int(demand.size), 0.0)
                for demand, mode in zip(demands, modes, strict=True)
            ),
            None if said.refused is None else places[said.refused],
        )


def _mark(demands: list[Demand], modes: Sequence[OnStoreError]) -> None:
    """Replace demands by those that say where they are counted while the store is not available."""
    for place, mode in enumerate(modes):
        counted = Counted.LOCAL if mode is OnStoreError.LOCAL else Counted.NOWHERE
        demands[place] = replace(demands[place], counted=counted)
