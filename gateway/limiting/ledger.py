"""How limits are counted: the arithmetic all stores share, on whatever keeps their numbers.

A bucket is one number: the time at which it will be full. That is the generic cell rate algorithm
(ITU-T I.371) read as a leaky bucket; it admits exactly what a token bucket of the same rate and
burst does, and never drifts. `take.lua` says the same for Redis. No clock and no I/O here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from gateway.limiting.demand import Demand, Kind, Level, Verdict

_EPSILON = 1e-6
"""Floating point: a wait below a microsecond is none."""
# A member looked up in its class costs as much as a call, and these are for every request.
_TAKE, _LEASE, _SPEND = Kind.TAKE, Kind.LEASE, Kind.SPEND
_ADJUST, _RELEASE, _RENEW = Kind.ADJUST, Kind.RELEASE, Kind.RENEW


class Ledger(Protocol):
    """Keeps the numbers. Times are seconds of one clock."""

    def full_at(self, key: str) -> float:
        """When a bucket is full; 0 if it is unknown, and so is full."""

    def set_full_at(self, key: str, when: float) -> None:
        """Remember it."""

    def held(self, key: str, now: float) -> tuple[int, float]:
        """How many slots are held, and when the first of them expires."""

    def hold(self, key: str, holder: str, until: float) -> None:
        """Hold a slot, or hold it longer."""

    def release(self, key: str, holder: str) -> None:
        """Give it back, if it is held."""

    def holds(self, key: str, holder: str) -> bool:
        """Whether this holder has a slot."""

    def spent(self, key: str) -> float:
        """What was spent of a budget."""

    def spend(self, key: str, amount: float, until: float) -> None:
        """Spend more, or less; the budget may be forgotten after `until`."""


def decide(ledger: Ledger, demands: Sequence[Demand], now: float) -> Verdict:
    """Meet all demands, or none of them."""
    levels: list[Level] = []
    refused: int | None = None
    for index, demand in enumerate(demands):
        admitted, level = _judge(ledger, demand, now)
        levels.append(level)
        if not admitted and (refused is None or level.wait_s > levels[refused].wait_s):
            refused = index
    if refused is None:
        for demand in demands:
            _apply(ledger, demand, now)
    return Verdict(tuple(levels), refused)


def _judge(ledger: Ledger, demand: Demand, now: float) -> tuple[bool, Level]:
    kind = demand.kind
    if kind is _TAKE:
        size, amount, per_s = demand.size, demand.amount, demand.per_s
        depth_s = size / per_s
        full_at = ledger.full_at(demand.key)
        if full_at < now:
            full_at = now
        after = full_at + amount / per_s
        wait_s = after - now - depth_s
        # What is more than the whole bucket is let through a full one, into debt: otherwise it
        # never could be.
        if wait_s > _EPSILON and (amount <= size or full_at > now + _EPSILON):
            if amount > size:
                wait_s = full_at - now
            left_s = depth_s - (full_at - now)
            return False, Level(int(left_s * per_s + _EPSILON) if left_s > 0.0 else 0, wait_s)
        left_s = depth_s - (after - now)
        return True, Level(int(left_s * per_s + _EPSILON) if left_s > 0.0 else 0, after - now)
    if kind is _LEASE:
        held, first_expiry = ledger.held(demand.key, now)
        if held + demand.amount > demand.size:
            return False, Level(0, max(0.0, first_expiry - now))
        return True, Level(int(demand.size - held - demand.amount), 0.0)
    if kind is _SPEND:
        balance = demand.size - ledger.spent(demand.key)
        if balance <= 0 or demand.amount > balance:
            return False, Level(math.floor(max(0.0, balance)), demand.ttl_s)
        return True, Level(math.floor(balance - demand.amount), demand.ttl_s)
    return True, Level(0, 0.0)


def _apply(ledger: Ledger, demand: Demand, now: float) -> None:
    kind, key = demand.kind, demand.key
    if not demand.amount:
        return
    if kind is _TAKE or kind is _ADJUST:
        full_at = ledger.full_at(key)
        full_at = (full_at if full_at > now else now) + demand.amount / demand.per_s
        ledger.set_full_at(key, full_at if full_at > now else now)
    elif kind is _LEASE:
        ledger.hold(key, demand.holder, now + demand.ttl_s)
    elif kind is _RELEASE:
        ledger.release(key, demand.holder)
    elif kind is _RENEW:
        if ledger.holds(key, demand.holder):
            ledger.hold(key, demand.holder, now + demand.ttl_s)
    else:
        ledger.spend(key, demand.amount, now + demand.ttl_s)
