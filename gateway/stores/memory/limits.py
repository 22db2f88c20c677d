"""Limit store in the memory of this process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from gateway.limiting.demand import Demand, LimitVerdict
from gateway.limiting.gcra import decide, execute, learn

_SWEEP_SIZE = 4096


class _Slots:
    """Slots of one key."""

    __slots__ = ("earliest", "until")

    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        """Expiry by holder."""
        self.earliest = math.inf
        """Time before which no slot expires, so that a count need not look at each of them."""

    def drop_expired(self, now: float) -> None:
        """Drop the slots that have expired."""
        self.until = {holder: until for holder, until in self.until.items() if until > now}
        self.earliest = min(self.until.values(), default=math.inf)


class MemoryLimits:
    """Exact limits for a single process. Entries without effect are dropped."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._full_at: dict[str, float] = {}
        self._held: dict[str, _Slots] = {}
        self._spent: dict[str, tuple[float, float]] = {}
        self._sweep_size = _SWEEP_SIZE
        # The dict's own methods, for the ledger: they cost a third of a method of this class.
        self.full_at = self._full_at.get
        self.set_full_at = self._full_at.__setitem__

    async def decide(self, demands: Sequence[Demand]) -> LimitVerdict:
        return self.decide_now(demands)

    def decide_now(self, demands: Sequence[Demand]) -> LimitVerdict:
        """Decide like `decide`, synchronously."""
        now = self._now()
        if len(self._full_at) + len(self._held) + len(self._spent) > self._sweep_size:
            self._sweep(now)
        return decide(self, demands, now)

    def learn(self, demands: Sequence[Demand], verdict: LimitVerdict) -> None:
        now = self._now()
        if len(self) > self._sweep_size:
            self._sweep(now)
        learn(self, demands, verdict, now)

    def post(self, demands: Sequence[Demand]) -> None:
        execute(self, demands, self._now())

    async def close(self) -> None:
        pass

    def __len__(self) -> int:
        return len(self._full_at) + len(self._held) + len(self._spent)

    # -- the ledger ------------------------------------------------------------------------

    def held(self, key: str, now: float) -> int:
        slots = self._held.get(key)
        if slots is None:
            return 0
        if slots.earliest <= now:
            slots.drop_expired(now)
        return len(slots.until)

    def first_expiry(self, key: str, now: float) -> float:
        slots = self._held.get(key)
        return 0.0 if slots is None else min(slots.until.values(), default=0.0)

    def hold(self, key: str, holder: str, until: float) -> None:
        slots = self._held.get(key)
        if slots is None:
            slots = self._held[key] = _Slots()
        slots.until[holder] = until
        if until < slots.earliest:
            slots.earliest = until

    def release(self, key: str, holder: str) -> None:
        slots = self._held.get(key)
        if slots is not None:
            slots.until.pop(holder, None)  # a key without slots stays for its next request

    def holds(self, key: str, holder: str) -> bool:
        slots = self._held.get(key)
        return slots is not None and holder in slots.until

    def spent(self, key: str) -> float:
        return self._spent.get(key, (0.0, 0.0))[0]

    def spend(self, key: str, amount: float, until: float) -> None:
        self._spent[key] = (self.spent(key) + amount, until)

    def _sweep(self, now: float) -> None:
        """Drop full buckets, expired slots and past budgets. Amortised over as many new keys."""
        for key in [key for key, at in self._full_at.items() if at <= now]:
            del self._full_at[key]
        self._held = {
            key: slots
            for key, slots in self._held.items()
            if any(until > now for until in slots.until.values())
        }
        self._spent = {key: s for key, s in self._spent.items() if s[1] > now}
        self._sweep_size = max(_SWEEP_SIZE, 2 * len(self))
