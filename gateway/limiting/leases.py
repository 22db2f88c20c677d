"""Leases of concurrency slots: renewed while their requests run, released at the end.

The store drops a slot that is not renewed, so a killed process does not hold slots for long.
"""

from __future__ import annotations

import asyncio

from gateway.limiting.demand import Demand, Kind
from gateway.limiting.guard import GuardedStore

_RELEASE = Kind.RELEASE
_RENEWALS = 3
"""Number of renewals of a slot in its TTL."""


class Leases:
    """The slots that this process holds."""

    def __init__(self, store: GuardedStore, ttl_s: float) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._held: dict[str, Demand] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, demand: Demand) -> None:
        """Renew a slot until `release`."""
        self._held[demand.holder] = demand
        if self._task is None:
            self._task = asyncio.create_task(self._renew())

    def release(self, demand: Demand) -> None:
        """Release a slot, unless it was released before."""
        if (release := self.give_up(demand)) is not None:
            self._store.post([release])

    def give_up(self, demand: Demand) -> Demand | None:
        """Stop renewing a slot. Return the demand with which the caller releases it; None if it was
        released before.
        """
        if self._held.pop(demand.holder, None) is None:
            return None
        return demand.again(_RELEASE)

    def close(self) -> None:
        """Stop renewing the slots."""
        if self._task is not None:
            self._task.cancel()

    async def _renew(self) -> None:
        while self._held:
            await asyncio.sleep(self._ttl_s / _RENEWALS)
            for demand in self._held.values():
                self._store.post([demand.again(Kind.RENEW)])
        self._task = None
