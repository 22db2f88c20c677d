"""Limits in memory: entries without effect are dropped."""

from __future__ import annotations

from gateway.limiting.demand import Demand, Kind
from gateway.stores.memory.limits import MemoryLimits


def every_kind(n: int) -> Demand:
    if n % 3 == 0:
        return Demand(Kind.TAKE, f"take-{n}", 1.0, 1.0, 1.0)
    if n % 3 == 1:
        return Demand(Kind.LEASE, f"lease-{n}", 1.0, 1.0, ttl_s=1.0, holder="h")
    return Demand(Kind.SPEND, f"spend-{n}", 1.0, 10.0, ttl_s=1.0)


def test_what_has_expired_is_dropped_and_what_is_held_is_kept() -> None:
    now = 0.0
    store = MemoryLimits(lambda: now)
    kept = Demand(Kind.LEASE, "kept", 1.0, 1.0, ttl_s=1e6, holder="h")
    assert store.decide_now([kept]).admitted
    for n in range(20_000):
        assert store.decide_now([every_kind(n)]).admitted
        now += 0.01
    assert len(store) <= 4096 + 200
    assert not store.decide_now([kept]).admitted
