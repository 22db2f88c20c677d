"""Retry budget: retries are limited to a share of requests, so that they cannot bury a backend.

The design is that of Finagle's RetryBudget (Twitter): each request deposits a fraction of a retry,
and each retry withdraws a whole one. Envoy instead limits retries to a share of the active
requests. Here the total is limited: since the start, retries are at most
`reserve + share * requests`. In a shorter period they can exceed `share * requests` by the balance
saved before, which is 100 at most (or `reserve`, if that is larger).
"""

from __future__ import annotations

_LONGEST_MEMORY = 100.0
"""Maximum number of retries that can be saved up."""


class RetryBudget:
    """The retry budget of one upstream."""

    def __init__(self, share: float = 0.2, reserve: float = 3.0) -> None:
        self.share = share
        self._balance = reserve
        self._cap = max(reserve, _LONGEST_MEMORY)

    @property
    def balance(self) -> float:
        """Number of retries that are allowed now."""
        return self._balance

    def deposit(self) -> None:
        """Add `share` to the balance. Call once a request, when it is first sent."""
        balance = self._balance + self.share
        self._balance = balance if balance < self._cap else self._cap

    def withdraw(self) -> bool:
        """Take one retry from the balance. Return False if less than one is left."""
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
