"""A retry budget: retries are a share of requests, so that a failing backend is not buried in them.

Twitter's Finagle has the idea (RetryBudget): each request brings a fraction of a retry, each retry
takes a whole one. It says less than Envoy's share of active requests, and holds more: over any
stretch of time, retries are at most `reserve + share * requests`.
"""

from __future__ import annotations

_LONGEST_MEMORY = 100.0
"""Retries that may be saved up."""


class RetryBudget:
    """Of one upstream."""

    def __init__(self, share: float = 0.2, reserve: float = 3.0) -> None:
        self.share = share
        self._balance = reserve
        self._cap = max(reserve, _LONGEST_MEMORY)

    @property
    def balance(self) -> float:
        """Retries that may be made now."""
        return self._balance

    def deposit(self) -> None:
        """A request was sent for the first time."""
        balance = self._balance + self.share
        self._balance = balance if balance < self._cap else self._cap

    def withdraw(self) -> bool:
        """Take one retry; False: there is none."""
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
