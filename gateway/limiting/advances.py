"""Advances on limits of a shared store, so that few requests of busy callers need a call of it.

**Tokens.** A process that serves several requests of a caller within 0.1 s takes tokens for the
next ones with them: as many as it used in this period and as the bucket regains in 0.1 s, and at
most 1/64 of what the bucket has left. At the end of the period it returns the rest. So for this
time a limit may refuse by 1/64 too early for each other process, or a burst exceed it by as much;
over longer times it holds exactly. A bucket that has less left than 64 times what a request takes,
and so each small one, is counted request by request.

**Slots.** A slot that was taken in this period, and whose request has ended, is kept for the next
request: at most 1/64 of the slots that are left. At the end of the period those that are kept are
released. The store counts them as held, so no limit is exceeded; for this time it may refuse by
1/64 too early for each other process. Where fewer than 64 slots are left, each is released at once.
Slots of a killed process expire, kept or not.

Budgets are not taken in advance: the store decides on each request that needs one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from math import floor

from gateway.limiting.demand import Demand, Kind, Level, LimitVerdict
from gateway.limiting.gcra import EPSILON
from gateway.limiting.store import Store

_PERIOD_S = 0.1
_SHARE = 64
_TAKE, _ADJUST, _LEASE, _RELEASE = Kind.TAKE, Kind.ADJUST, Kind.LEASE, Kind.RELEASE


class _TokenAdvance:
    """Tokens of one bucket that this process took in a period."""

    __slots__ = ("_depth_s", "demand", "full_at", "most", "unused", "used")

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        """First demand on the bucket."""
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
        return min(self.unused, max(0.0, self.full_at - now) * self.demand.per_s)

    def covers(self, amount: float, now: float) -> bool:
        """Tell whether that many tokens are usable, or any if the amount is 0."""
        flow = (self.full_at - now) * self.demand.per_s
        return 0.0 < self.unused >= amount and 0.0 < flow >= amount

    def missing(self, amount: float, now: float) -> float:
        """Return how much to take in advance now, with a request of this amount. Nothing if it
        would not do for another one like it: it would only be withheld from other processes.
        """
        wanted = min(self.used + self.demand.per_s * _PERIOD_S, self.most)
        return 0.0 if wanted < amount else max(0.0, wanted - self.usable(now))

    def granted(self, demand: Demand, advanced: float, level: Level, now: float) -> Level:
        """Add what the store has granted, and its level after that, and use what was demanded.
        Return the level.
        """
        self.unused = self.usable(now) + demand.amount + advanced
        self.full_at = now + level.wait_s
        self.most = level.remaining / _SHARE
        return self.use(demand, now)

    def use(self, demand: Demand, now: float) -> Level:
        """Use tokens. Return the level of the bucket with what is unused."""
        amount, per_s = demand.amount, self.demand.per_s
        self.used += amount
        self.unused -= amount
        wait_s = self.full_at - now - self.unused / per_s
        left_s = self._depth_s - wait_s
        return Level(floor(left_s * per_s + EPSILON) if left_s > 0.0 else 0, wait_s)

    def settled(self, demand: Demand) -> bool:
        """Correct the advance instead of its bucket, within the bounds of the advance. Return False
        if that is not possible.
        """
        unused = self.unused - demand.amount
        if demand.kind is not _ADJUST or not 0.0 <= unused <= self.most:
            return False
        self.unused = unused
        return True

    def returned(self, now: float) -> Sequence[Demand]:
        """Return the demand that gives back what is unused; none if nothing is. Nothing is taken in
        advance before the store admits another request.
        """
        amount, self.unused, self.most = self.usable(now), 0.0, 0.0
        return (self.demand.again(_ADJUST, -amount),) if amount else ()


class _SlotAdvance:
    """Slots of one key that this process took in a period."""

    __slots__ = ("_kept", "_left", "_taken", "demand")

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        """First demand for a slot."""
        self._taken: set[str] = set()
        """Holders of the slots. Older ones are not kept: they are renewed only while a request has
        them.
        """
        self._kept: list[Demand] = []
        """Releases of the slots that no request has at the moment."""
        self._left = 0
        """Slots that the store has left for all processes."""

    def covers(self, amount: float, now: float) -> bool:
        """Tell whether a slot is kept for a request."""
        return bool(self._kept and amount)

    def missing(self, amount: float, now: float) -> float:
        """Return 0: no slot is taken that no request needs yet."""
        return 0.0

    def granted(self, demand: Demand, advanced: float, level: Level, now: float) -> Level:
        """Note the slot that the store has granted. Return the level with those that are kept."""
        self._taken.add(demand.holder)
        self._left = level.remaining
        return Level(level.remaining + len(self._kept), 0.0)

    def use(self, demand: Demand, now: float) -> Level:
        """Give a slot that is kept to a request: its demand gets the holder of the slot."""
        demand.holder = self._kept.pop().holder
        return Level(self._left + len(self._kept), 0.0)

    def settled(self, demand: Demand) -> bool:
        """Keep the slot of a request that has ended. Return False if it has to be released."""
        if demand.kind is not _RELEASE or demand.holder not in self._taken:
            return False
        if (len(self._kept) + 1) * _SHARE > self._left:
            self._left += 1
            return False
        self._kept.append(demand)
        return True

    def returned(self, now: float) -> Sequence[Demand]:
        """Return the demands that release what is kept."""
        kept, self._kept = self._kept, []
        self._left += len(kept)
        return kept


class Advances:
    """Limit store that takes tokens from another store in advance, and keeps slots."""

    def __init__(self, store: Store, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._advances: dict[str, _TokenAdvance | _SlotAdvance] = {}
        """Advances of this period, by the key of the limit."""
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
        others = [demand for demand in demands if not self._settled(demand)]
        if others:
            self._store.post(others)

    async def close(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end_period()
        await self._store.close()

    def _decide_alone(self, demands: Sequence[Demand]) -> LimitVerdict | None:
        """Decide by what was taken in advance. Return None, with no effect, if it is too little."""
        now = self._now()
        found: list[_TokenAdvance | _SlotAdvance] = []
        only_tokens = True
        for demand in demands:
            advance = self._advance_on(demand)
            if advance is None or not advance.covers(demand.amount, now):
                return None
            found.append(advance)
            only_tokens = only_tokens and demand.kind is _TAKE
        levels = [advance.use(demand, now) for advance, demand in zip(found, demands, strict=True)]
        return LimitVerdict(tuple(levels), None, only_tokens)

    def _more(self, demands: Sequence[Demand]) -> list[float] | None:
        """Return how much to take in advance with each of these demands. None: they have no part in
        advances.
        """
        now = self._now()
        more: list[float] = []
        for demand in demands:
            kind = demand.kind
            if kind is not _TAKE and kind is not _LEASE:
                return None
            if not demand.amount or demand.size < _SHARE:
                return None
            advance = self._advance_on(demand)
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
            if demand.key not in self._advances:
                made = _TokenAdvance(demand) if demand.kind is _TAKE else _SlotAdvance(demand)
                self._advances[demand.key] = made
            advance = self._advance_on(demand)
            if advance is not None:
                level = advance.granted(demand, advanced, level, now)
            levels.append(level)
        return LimitVerdict(tuple(levels))

    def _give_back(self, demands: Sequence[Demand], more: list[float] | None) -> bool:
        """Return the advances on these limits. Return True if a refusal may be due to them, or to a
        try to take more.
        """
        now = self._now()
        returned = [
            back
            for key in {demand.key for demand in demands}
            if (advance := self._advances.get(key)) is not None
            for back in advance.returned(now)
        ]
        if returned:
            self._store.post(returned)
        return bool(returned) or (more is not None and any(more))

    def _settled(self, demand: Demand) -> bool:
        """Return True if an advance takes a correction or a slot, so that the store need not."""
        advance = self._advance_on(demand)
        return advance is not None and advance.settled(demand)

    def _advance_on(self, demand: Demand) -> _TokenAdvance | _SlotAdvance | None:
        """Return the advance on the limit of a demand. None if there is none, or only one of
        another size: callers of different tiers may share a key, and each has a limit of its own.
        """
        advance = self._advances.get(demand.key)
        if advance is None:
            return None
        first = advance.demand
        return advance if first.size == demand.size and first.per_s == demand.per_s else None

    def _end_period(self) -> None:
        """Return all that is unused."""
        self._end = None
        now, advances = self._now(), self._advances
        self._advances = {}
        returned = [back for advance in advances.values() for back in advance.returned(now)]
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
