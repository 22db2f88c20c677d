"""The arithmetic of limits, shared by all stores that keep the numbers.

A bucket is one number: the time at which it will be full. This is the generic cell rate algorithm
(GCRA, ITU-T I.371), read as a leaky bucket. It admits exactly what a token bucket of the same rate
and burst admits, and never drifts. `stores/redis/take.lua` is the same in Redis. No clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor
from typing import Protocol

from gateway.limiting.demand import Demand, Kind, Level, LimitVerdict

EPSILON = 1e-6
"""Tolerance for rounding: a wait of less than a microsecond counts as none."""
# Looking up an enum member costs as much as a call, and every request needs these.
_TAKE, _LEASE, _SPEND = Kind.TAKE, Kind.LEASE, Kind.SPEND
_ADJUST, _RELEASE, _RENEW = Kind.ADJUST, Kind.RELEASE, Kind.RENEW


class LimitState(Protocol):
    """Storage of the numbers. Times are seconds of one clock."""

    @property
    def full_at(self) -> Callable[[str], float | None]:
        """Return the time at which a bucket is full; None if it is unknown and therefore full."""

    @property
    def set_full_at(self) -> Callable[[str, float], None]:
        """Function that sets the time at which a bucket is full."""

    def held(self, key: str, now: float) -> int:
        """Return the number of slots held."""

    def first_expiry(self, key: str, now: float) -> float:
        """Return the time at which the first slot expires that is held; 0 if none is held."""

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


def decide(state: LimitState, demands: Sequence[Demand], now: float) -> LimitVerdict:
    """Meet all demands, or none of them, and return the decision."""
    # Every request runs this for each of its limits: buckets and slots are judged without another
    # call, and rounded by `floor`, which takes a third of the time of `int`.
    levels: list[Level] = []
    refused: int | None = None
    full_at_of, after = state.full_at, 0.0
    for demand in demands:
        admitted = True
        kind = demand.kind
        if kind is _TAKE:
            size, amount, per_s = demand.size, demand.amount, demand.per_s
            depth_s = size / per_s
            full_at = full_at_of(demand.key)
            if full_at is None or full_at < now:
                full_at = now
            after = full_at + amount / per_s
            wait_s = after - now - depth_s
            # A demand larger than the bucket is admitted when the bucket is full, which puts it
            # into debt. Otherwise it could never be admitted.
            if wait_s > EPSILON and (amount <= size or full_at > now + EPSILON):
                admitted = False
                if amount > size:
                    wait_s = full_at - now
                left_s = depth_s - (full_at - now)
            else:
                wait_s = after - now
                left_s = depth_s - wait_s
            level = Level(floor(left_s * per_s + EPSILON) if left_s > 0.0 else 0, wait_s)
        elif kind is _LEASE:
            left = demand.size - state.held(demand.key, now) - demand.amount
            if left < 0.0:
                admitted = False
                level = Level(0, max(0.0, state.first_expiry(demand.key, now) - now))
            else:
                level = Level(floor(left), 0.0)
        else:
            admitted, level = _judge(state, demand, now)
        if not admitted and (refused is None or level.wait_s > levels[refused].wait_s):
            refused = len(levels)
        levels.append(level)
    if refused is not None:
        pass
    elif len(levels) == 1 and kind is _TAKE:
        if amount:
            state.set_full_at(demand.key, after)
    else:
        execute(state, demands, now)
    return LimitVerdict(tuple(levels), refused)


def execute(state: LimitState, demands: Sequence[Demand], now: float) -> None:
    """Meet demands that cannot be refused: those that were admitted, corrections and releases."""
    for demand in demands:
        kind, key, amount = demand.kind, demand.key, demand.amount
        if not amount:
            continue
        if kind is _TAKE or kind is _ADJUST:
            full_at = state.full_at(key)
            full_at = (now if full_at is None or full_at < now else full_at) + amount / demand.per_s
            state.set_full_at(key, full_at if full_at > now else now)
        elif kind is _LEASE:
            state.hold(key, demand.holder, now + demand.ttl_s)
        elif kind is _RELEASE:
            state.release(key, demand.holder)
        elif kind is _RENEW:
            if state.holds(key, demand.holder):
                state.hold(key, demand.holder, now + demand.ttl_s)
        else:
            if amount < 0:  # what was spent before may be lost or reset: that gives no credit
                amount = max(amount, -state.spent(key))
            state.spend(key, amount, now + demand.ttl_s)


def learn(state: LimitState, demands: Sequence[Demand], verdict: LimitVerdict, now: float) -> None:
    """Raise the levels to those that another store has decided. What is counted here stays."""
    for place, (demand, level) in enumerate(zip(demands, verdict.levels, strict=True)):
        refused = verdict.refused is not None
        if refused and place != verdict.refused:
            continue  # its level is that of a request that was admitted
        kind, key, used = demand.kind, demand.key, demand.size - level.remaining
        if kind is _TAKE:
            full_at = now + (used / demand.per_s if refused else level.wait_s)
            if full_at > (state.full_at(key) or now):
                state.set_full_at(key, full_at)
        elif kind is _SPEND:
            if used > (spent := state.spent(key)):
                state.spend(key, used - spent, now + demand.ttl_s)
        elif kind is _LEASE and not refused:
            state.hold(key, demand.holder, now + demand.ttl_s)


def _judge(state: LimitState, demand: Demand, now: float) -> tuple[bool, Level]:
    """Decide on a demand that is neither for a bucket nor for a slot."""
    if demand.kind is _SPEND:
        balance = demand.size - state.spent(demand.key)
        if balance <= 0 or demand.amount > balance:
            return False, Level(floor(max(0.0, balance)), demand.ttl_s)
        return True, Level(floor(balance - demand.amount), demand.ttl_s)
    return True, Level(0, 0.0)
