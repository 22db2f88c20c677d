"""What a store of limits is to those who use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.limiting.demand import Demand, Verdict


class Store(Protocol):
    """Decides on demands, all or none, exactly, for everybody who shares it."""

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        """Raise StoreUnavailable."""

    def post(self, demands: Sequence[Demand]) -> None:
        """Have these met when it can be: releases, renewals, corrections. Nobody waits for it."""

    async def close(self) -> None:
        """Meet what was posted, and let go of everything."""
