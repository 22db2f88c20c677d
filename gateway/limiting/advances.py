"""Advances on buckets of a shared store, so that few requests of busy callers need a call of it.

A process that serves several requests of a caller within 0.1 s takes tokens for the next ones with
them: as many as it used in this period and as the bucket regains in 0.1 s, and at most 1/64 of what
the bucket has left. At the end of the period it returns the rest. So for this time a limit may
refuse by 1/64 too early for each other process, or a burst exceed it by as much; over longer times
it holds exactly. A bucket that has less left than 64 times what a request takes, and so each small
one, is counted request by request.

Slots and budgets are not taken in advance: the store decides on each request that needs one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from gateway.limiting.demand import Demand, Kind, Level, LimitVerdict
from gateway.limiting.gcra import EPSILON
from gateway.limiting.store import Store

_PERIOD_S = 0.1
_SHARE = 64
_TAKE, _ADJUST = Kind.TAKE, Kind.ADJUST


class _Advance:
    """Tokens of one bucket that this process took in a period."""

    __slots__ = ("_demand", "_depth_s", "full_at", "most", "unused", "used")

    def __init__(self, demand: Demand) -> None:
        self._demand = demand
        self._depth_s = demand.size / demand.per_s
        self.used = 0.0
        """Tokens that requests used."""
        self.unused = 0.0
        """Tokens taken in advance. Negative if requests used more."""
        self.most = 0.0
        """Maximum of `unused`."""
        self.full_at = 0.0
        """Time at which the bucket in the store is full, unless anyone takes more."""

    def usable(self, now: float) -> float:
        """Return how many unused tokens would not overflow the bucket, had they stayed in it."""
        return min(self.unused, max(0.0, self.full_at - now) * self._demand.per_s)

    def covers(self, amount: float, now: float) -> bool:
        """Tell whether that many tokens are usable, or any if the amount is 0."""
        flow = (self.full_at - now) * self._demand.per_s
        return 0.0 < self.unused >= amount and 0.0 < flow >= amount

    def missing(self, amount: float, now: float) -> float:
        """Return how much to take in advance now, with a request of this amount. Nothing if it
        would not do for another one like it: it would only be withheld from other processes.
        """
        wanted = min(self.used + self._demand.per_s * _PERIOD_S, self.most)
        return 0.0 if wanted < amount else max(0.0, wanted - self.usable(now))

    def granted(self, amount: float, level: Level, now: float) -> None:
        """Add what the store has granted, and its level after that."""
        self.unused = self.usable(now) + amount
        self.full_at = now + level.wait_s
        self.most = level.remaining / _SHARE

    def use(self, amount: float, now: float) -> Level:
        """Use tokens. Return the level of the bucket with what is unused."""
        self.used += amount
        self.unused -= amount
        per_s = self._demand.per_s
        wait_s = self.full_at - now - self.unused / per_s
        left_s = self._depth_s - wait_s
        return Level(int(left_s * per_s + EPSILON) if left_s > 0.0 else 0, wait_s)

    def returned(self, now: float) -> Demand | None:
        """Return the demand that gives back what is unused; None if nothing is. Nothing is taken in
        advance before the store admits another request.
        """
        amount, self.unused, self.most = self.usable(now), 0.0, 0.0
        return self._demand.again(_ADJUST, -amount) if amount else None


class Advances:
    """Limit store that takes tokens from another store in advance."""

    def __init__(self, store: Store, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._advances: dict[str, _Advance] = {}
        """Advances of this period, by the key of the bucket."""
        self._end: asyncio.TimerHandle | None = None
        """End of the period; None before its first request."""

    def decide_now(self, demands: Sequence[Demand]) -> LimitVerdict | None:
        verdict = self._decide_alone(demands)
        if verdict is not None:
            return verdict
        more = self._more(demands)
        verdict = self._store.decide_now(_with(demands, more))
        if verdict is None:
            return None
        if verdict.refused is not None and self._give_back(demands, more):
            return self._store.decide_now(demands)
        return self._learned(demands, more, verdict)

    async def decide(self, demands: Sequence[Demand]) -> LimitVerdict:
        more = self._more(demands)
        verdict = await self._store.decide(_with(demands, more))
        if verdict.refused is not None and self._give_back(demands, more):
            return await self._store.decide(demands)
        return self._learned(demands, more, verdict)

    def post(self, demands: Sequence[Demand]) -> None:
        others = [demand for demand in demands if not self._corrected(demand)]
        if others:
            self._store.post(others)

    async def close(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end_period()
        await self._store.close()

    def _decide_alone(self, demands: Sequence[Demand]) -> LimitVerdict | None:
        """Decide by what was taken in advance. Return None, with no effect, if it is too little."""
        now, advances = self._now(), self._advances
        found: list[_Advance] = []
        for demand in demands:
            advance = advances.get(demand.key)
            if advance is None or not advance.covers(demand.amount, now):
                return None
            found.append(advance)
        levels = [
            advance.use(demand.amount, now) for advance, demand in zip(found, demands, strict=True)
        ]
        return LimitVerdict(tuple(levels))

    def _more(self, demands: Sequence[Demand]) -> list[float] | None:
        """Return how much to take in advance with each of these demands. None: they have no part in
        advances.
        """
        now = self._now()
        more: list[float] = []
        for demand in demands:
            if demand.kind is not _TAKE or not demand.amount or demand.size < _SHARE:
                return None
            advance = self._advances.get(demand.key)
            more.append(0.0 if advance is None else advance.missing(demand.amount, now))
        return more

    def _learned(
        self, demands: Sequence[Demand], more: list[float] | None, verdict: LimitVerdict
    ) -> LimitVerdict:
        """Record what the store granted. Return the decision with this process's levels."""
        if more is None or verdict.refused is not None:
            return verdict
        now = self._now()
        if self._end is None:
            self._end = asyncio.get_running_loop().call_later(_PERIOD_S, self._end_period)
        levels: list[Level] = []
        for demand, advanced, level in zip(demands, more, verdict.levels, strict=True):
            advance = self._advances.get(demand.key)
            if advance is None:
                advance = self._advances[demand.key] = _Advance(demand)
            advance.granted(demand.amount + advanced, level, now)
            levels.append(advance.use(demand.amount, now))
        return LimitVerdict(tuple(levels))

    def _give_back(self, demands: Sequence[Demand], more: list[float] | None) -> bool:
        """Return the advances on these buckets. Return True if a refusal may be due to them, or to
        a try to take more.
        """
        now = self._now()
        returned = [
            demand
            for key in {demand.key for demand in demands}
            if (advance := self._advances.get(key)) is not None
            and (demand := advance.returned(now)) is not None
        ]
        if returned:
            self._store.post(returned)
        return bool(returned) or (more is not None and any(more))

    def _corrected(self, demand: Demand) -> bool:
        """Correct an advance instead of its bucket, within the bounds of the advance."""
        if demand.kind is not _ADJUST or (advance := self._advances.get(demand.key)) is None:
            return False
        unused = advance.unused - demand.amount
        if not 0.0 <= unused <= advance.most:
            return False
        advance.unused = unused
        return True

    def _end_period(self) -> None:
        """Return all that is unused."""
        self._end = None
        now, advances = self._now(), self._advances
        self._advances = {}
        returned = [
            demand for advance in advances.values() if (demand := advance.returned(now)) is not None
        ]
        if returned:
            self._store.post(returned)


def _with(demands: Sequence[Demand], more: list[float] | None) -> Sequence[Demand]:
    """Return the demands with what to take in advance."""
    if more is None or not any(more):
        return demands
    return [
        demand.again(_TAKE, demand.amount + advanced) if advanced else demand
        for demand, advanced in zip(demands, more, strict=True)
    ]
