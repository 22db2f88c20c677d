"""Slots that are held as long as their requests: renewed while these live, given back at the end.

The store forgets a slot that is not renewed, so a killed process holds none for long.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.limiting.demand import Demand, Kind
from gateway.limiting.guard import GuardedStore

_RENEWALS = 3
"""How often within its life a slot is renewed."""


class Leases:
    """All slots this process holds."""

    def __init__(self, store: GuardedStore, ttl_s: float) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._held: dict[str, Demand] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, demand: Demand) -> None:
        """A slot was taken: renew it until `release`."""
        self._held[demand.holder] = demand
        if self._task is None:
            self._task = asyncio.create_task(self._renew())

    def release(self, demand: Demand) -> None:
        """Give it back."""
        self._held.pop(demand.holder, None)
        self._store.post([replace(demand, kind=Kind.RELEASE)])

    def close(self) -> None:
        """Renew no more."""
        if self._task is not None:
            self._task.cancel()

    async def _renew(self) -> None:
        while self._held:
            await asyncio.sleep(self._ttl_s / _RENEWALS)
            for demand in self._held.values():
                self._store.post([replace(demand, kind=Kind.RENEW)])
        self._task = None
