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
        self.requests = 0
        """Requests since the balance was computed. Add 1 for each, when it is first sent."""
        self._share = share
        self._balance = reserve
        self._cap = max(reserve, _LONGEST_MEMORY)

    @property
    def balance(self) -> float:
        """Number of retries that are allowed now."""
        earned, self.requests = self._share * self.requests, 0
        self._balance = min(self._cap, self._balance + earned)
        return self._balance

    def grant(self, share: float) -> None:
        """Change the share of the requests from now on."""
        self._balance = self.balance
        self._share = share

    def withdraw(self) -> bool:
        """Take one retry from the balance. Return False if less than one is left."""
        if self.balance < 1.0:
            return False
        self._balance -= 1.0
        return True
