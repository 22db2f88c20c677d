"""Limit store in the memory of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gateway.limiting.demand import Demand, Verdict
from gateway.limiting.ledger import decide

_SWEEP_SIZE = 4096


class MemoryLimits:
    """Exact limits for a single process. Entries without effect are dropped."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._full_at: dict[str, float] = {}
        self._held: dict[str, dict[str, float]] = {}
        self._spent: dict[str, tuple[float, float]] = {}
        self._sweep_size = _SWEEP_SIZE

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        return self.decide_now(demands)

    def decide_now(self, demands: Sequence[Demand]) -> Verdict:
        """Decide like `decide`, synchronously."""
        now = self._now()
        if len(self._full_at) + len(self._held) + len(self._spent) > self._sweep_size:
            self._sweep(now)
        return decide(self, demands, now)

    def post(self, demands: Sequence[Demand]) -> None:
        decide(self, demands, self._now())

    async def close(self) -> None:
        pass

    def __len__(self) -> int:
        return len(self._full_at) + len(self._held) + len(self._spent)

    # -- the ledger ------------------------------------------------------------------------

    def full_at(self, key: str) -> float:
        return self._full_at.get(key, 0.0)

    def set_full_at(self, key: str, when: float) -> None:
        self._full_at[key] = when

    def held(self, key: str, now: float) -> tuple[int, float]:
        slots = self._held.get(key)
        if not slots:
            return 0, 0.0
        for holder in [holder for holder, until in slots.items() if until <= now]:
            del slots[holder]
        return len(slots), min(slots.values(), default=0.0)

    def hold(self, key: str, holder: str, until: float) -> None:
        self._held.setdefault(key, {})[holder] = until

    def release(self, key: str, holder: str) -> None:
        slots = self._held.get(key)
        if slots is not None:
            slots.pop(holder, None)
            if not slots:
                del self._held[key]

    def holds(self, key: str, holder: str) -> bool:
        return holder in self._held.get(key, ())

    def spent(self, key: str) -> float:
        return self._spent.get(key, (0.0, 0.0))[0]

    def spend(self, key: str, amount: float, until: float) -> None:
        self._spent[key] = (self.spent(key) + amount, until)

    def _sweep(self, now: float) -> None:
        """Drop full buckets, expired slots and past budgets. Amortised over as many new keys."""
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        self._held = {key: s for key, s in self._held.items() if any(u > now for u in s.values())}
        self._spent = {key: s for key, s in self._spent.items() if s[1] > now}
        self._sweep_size = max(_SWEEP_SIZE, 2 * len(self))
