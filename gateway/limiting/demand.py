"""What a request asks of a limit, and what it is told. Values only.

Nobody changes one that was made, but for `Demand.counted`. They are not frozen: to make a frozen
one takes three times as long, and every request makes several.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """What is done to a key. The first three may be refused, and then nothing is done at all."""

    TAKE = 1
    """Take `amount` from a bucket that `per_s` fills up to `size`."""
    LEASE = 2
    """Hold one of `size` slots, for `ttl_s` unless it is renewed."""
    SPEND = 3
    """Spend `amount` of a budget of `size` that ends after `ttl_s`."""
    ADJUST = 4
    """Take `amount` more from a bucket, or give it back: it may go into debt."""
    RELEASE = 5
    """Give a slot back."""
    RENEW = 6
    """Hold a slot for another `ttl_s`."""
    CORRECT = 7
    """Spend `amount` more of a budget, or less."""


class Counted(IntEnum):
    """Where a demand was met, which is where it has to be corrected and given back."""

    STORE = 1
    LOCAL = 2
    """In this process alone, while the store was away."""
    NOWHERE = 3
    """Let through without the store."""


@dataclass(slots=True)
class Demand:
    """One thing to do to one key. Amounts are in the unit of the limit.

    Of the first three kinds, with an amount of 0: look what is left, and leave it so.
    """

    kind: Kind
    key: str
    amount: float = 1.0
    size: float = 0.0
    per_s: float = 0.0
    ttl_s: float = 0.0
    holder: str = ""
    """Whose slot it is: unique to one request."""
    counted: Counted = Counted.STORE
    """Set by the decision."""


@dataclass(slots=True)
class Level:
    """What is left of a limit after a decision, and when there is more."""

    remaining: int
    wait_s: float
    """Refused: until the same demand can be met. Admitted: until the limit is as new."""


@dataclass(slots=True)
class Verdict:
    """The decision on all demands of one request: all were met, or none."""

    levels: tuple[Level, ...]
    refused: int | None = None
    """Which demand was refused: of several, the one to wait longest for."""

    @property
    def admitted(self) -> bool:
        """Whether everything was met."""
        return self.refused is None
