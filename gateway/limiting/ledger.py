"""The arithmetic of limits, shared by all stores that keep the numbers.

A bucket is one number: the time at which it will be full. This is the generic cell rate algorithm
(GCRA, ITU-T I.371), read as a leaky bucket. It admits exactly what a token bucket of the same rate
and burst admits, and never drifts. `stores/redis/take.lua` is the same in Redis. No clock, no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from gateway.limiting.demand import Demand, Kind, Level, Verdict

_EPSILON = 1e-6
"""Tolerance for rounding: a wait of less than a microsecond counts as none."""
# Looking up an enum member costs as much as a call, and every request needs these.
_TAKE, _LEASE, _SPEND = Kind.TAKE, Kind.LEASE, Kind.SPEND
_ADJUST, _RELEASE, _RENEW = Kind.ADJUST, Kind.RELEASE, Kind.RENEW


class Ledger(Protocol):
    """Storage of the numbers. Times are seconds of one clock."""

    def full_at(self, key: str) -> float:
        """Return the time at which a bucket is full; 0 if it is unknown and therefore full."""

    def set_full_at(self, key: str, when: float) -> None:
        """Set the time at which a bucket is full."""

    def held(self, key: str, now: float) -> tuple[int, float]:
        """Return the number of slots held, and the time at which the first one expires."""

    def hold(self, key: str, holder: str, until: float) -> None:
        """Hold a slot, or extend it."""

    def release(self, key: str, holder: str) -> None:
        """Release a slot, if it is held."""

    def holds(self, key: str, holder: str) -> bool:
        """True if the holder has a slot."""

    def spent(self, key: str) -> float:
        """Return the amount spent of a budget."""

    def spend(self, key: str, amount: float, until: float) -> None:
        """Add to the amount spent, or subtract. The budget may be dropped after `until`."""


def decide(ledger: Ledger, demands: Sequence[Demand], now: float) -> Verdict:
    """Meet all demands, or none of them, and return the decision."""
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
        # A demand larger than the bucket is admitted when the bucket is full, which puts it into
        # debt. Otherwise it could never be admitted.
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
