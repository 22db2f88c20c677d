"""What a store of limits is to those who use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.limiting.demand import Demand, Verdict


class StoreUnavailable(Exception):
    """The store did not decide in time; the text says why, for the log."""


class Store(Protocol):
    """Decides on demands, all or none, exactly, for everybody who shares it."""

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        """Raise StoreUnavailable."""

    def post(self, demands: Sequence[Demand]) -> None:
        """Have these met when it can be: releases, renewals, corrections. Nobody waits for it."""

    async def revoke(self, token_id: str, ttl_s: float) -> None:
        """Remember a token as revoked for so long. Raise StoreUnavailable."""

    async def revoked(self) -> frozenset[str]:
        """All that are. Raise StoreUnavailable."""

    async def close(self) -> None:
        """Meet what was posted, and let go of everything."""
