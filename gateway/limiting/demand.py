"""Demands of a request on a limit, and the decision on them. Values only.

Instances are treated as immutable: requests of one caller share demands. They are not frozen,
because creating a frozen instance takes three times as long, and requests create several. One thing
changes: a demand for a slot gets the holder of the slot, where the store gives it a kept one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """Operation on a key. The first three can be refused; then the request changes nothing."""

    TAKE = 1
    """Take `amount` from a token bucket of `size` that refills at `per_s`."""
    LEASE = 2
    """Hold one of `size` slots for `ttl_s` seconds, unless renewed."""
    SPEND = 3
    """Spend `amount` of a budget of `size` whose period ends after `ttl_s` seconds."""
    ADJUST = 4
    """Take `amount` more from a bucket, or give it back if negative. Debt is possible."""
    RELEASE = 5
    """Release a slot."""
    RENEW = 6
    """Hold a slot for another `ttl_s` seconds."""
    CORRECT = 7
    """Spend `amount` more of a budget, or less if negative."""


class Counted(IntEnum):
    """Place where a demand was counted. Corrections and releases have to go to the same place."""

    STORE = 1
    LOCAL = 2
    """Only in this process, because the store was not available."""
    NOWHERE = 3
    """Admitted without being counted, because the store was not available."""


@dataclass(slots=True)
class Demand:
    """An operation on one key. Amounts are in the unit of the limit.

    With amount 0, the first three kinds report the level and change nothing.
    """

    kind: Kind
    key: str
    amount: float = 1.0
    size: float = 0.0
    per_s: float = 0.0
    ttl_s: float = 0.0
    holder: str = ""
    """Holder of the slot, unique to one request."""
    counted: Counted = Counted.STORE
    """Place where the demand was counted: the store, unless the decision says otherwise."""

    def again(self, kind: Kind, amount: float = 1.0) -> Demand:
        """Return a demand of another kind on the same key, counted in the same place."""
        return Demand(
            kind,
            self.key,
            amount,
            self.size,
            self.per_s,
            self.ttl_s,
            self.holder,
            self.counted,
        )


@dataclass(slots=True)
class Level:
    """Amount that a limit has left after a decision, and the time until it has more."""

    remaining: int
    wait_s: float
    """Seconds. If refused: until the demand can be met. If admitted: until the limit is full."""


@dataclass(slots=True)
class LimitVerdict:
    """The decision on all demands of one request: all are met, or none."""

    levels: tuple[Level, ...]
    refused: int | None = None
    """Index of the refused demand; of several, the one with the longest wait."""
    in_advance: bool = False
    """True if the request takes only tokens that this process has taken before. Then the levels
    tell nothing that the store's last decision did not tell.
    """

    @property
    def admitted(self) -> bool:
        """True if all demands were met."""
        return self.refused is None
