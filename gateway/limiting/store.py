"""Interface of a limit store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.limiting.demand import Demand, LimitVerdict


class Store(Protocol):
    """Decide on demands, all or none, exactly for all processes that share the store."""

    def decide_now(self, demands: Sequence[Demand]) -> LimitVerdict | None:
        """Return the decision on the demands if it can be made without waiting. Otherwise return
        None, with no effect: then await `decide`.
        """

    async def decide(self, demands: Sequence[Demand]) -> LimitVerdict:
        """Return the decision on the demands. Raise StoreUnavailable."""

    def post(self, demands: Sequence[Demand]) -> None:
        """Execute releases, renewals and corrections when possible. Does not wait."""

    async def close(self) -> None:
        """Execute what was posted, and close the store."""


class LocalStore(Store, Protocol):
    """Limit store in this process, which never has to wait."""

    def decide_now(self, demands: Sequence[Demand]) -> LimitVerdict:
        """Return the decision on the demands."""

    def learn(self, demands: Sequence[Demand], verdict: LimitVerdict) -> None:
        """Count from now on at least what another store had counted after this decision."""
