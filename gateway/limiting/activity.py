"""Recent activity of limits, for operators: the keys in use, and the refused requests.

A store contains the keys of all callers for months. Here are only those of recent requests, so that
the cost of a look does not grow with the number of callers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.limiting.accounts import Account
from gateway.limiting.demand import Demand
from gateway.limiting.keys import Limited
from gateway.limiting.rules import Rule

_KEYS_CAP = 200
_REFUSALS_CAP = 100


@dataclass(slots=True)
class ActiveKey:
    """A key with recent requests."""

    rule: Rule
    parts: tuple[str, ...]
    """Values that make up the key, one for each word of the limit's `key`."""
    look: Demand
    """Demand that reports what the key has left."""
    refused: int = 0
    refused_at: float | None = None
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that exceeded a limit."""

    at: float
    """Seconds since the epoch."""
    limit: str
    unit: str
    parts: tuple[str, ...]
    wait_s: float
    request_id: str
    route: str | None
    model: str | None
    subject: str | None
    tenant: str | None


class LimitActivity:
    """Recent activity of one process."""

    def __init__(self) -> None:
        self._keys: dict[str, ActiveKey] = {}
        self.evictions = 0
        """Number of keys that were dropped. An account whose keys were recorded, and none dropped
        since, has nothing to record.
        """
        self.refusals: deque[Refusal] = deque(maxlen=_REFUSALS_CAP)
        """Latest refusals, the newest last."""

    @property
    def keys(self) -> Iterable[ActiveKey]:
        """Approximately the most recent keys."""
        return self._keys.values()

    def note(self, rules: Sequence[Rule], demands: Sequence[Demand], request: Limited) -> None:
        """Record a request's keys. A known key costs one look-up."""
        for rule, demand in zip(rules, demands, strict=True):
            known = self._keys.get(demand.key)
            if known is None or known.rule is not rule:
                self._add(rule, demand, request)

    def note_account(self, account: Account, demands: Sequence[Demand], request: Limited) -> None:
        """Record the keys of a request, unless `account.noted` equals `evictions`."""
        self.note(account.rules, demands, request)
        if account.has_lasting_keys:
            account.noted = self.evictions

    def refuse(self, rule: Rule, demand: Demand, wait_s: float, request: Limited) -> None:
        """Record a request that exceeded a limit."""
        now = time.time()
        found = self._keys.get(demand.key) or self._add(rule, demand, request)
        found.refused += 1
        found.refused_at = now
        principal = request.principal
        self.refusals.append(
            Refusal(
                now,
                rule.name,
                rule.unit.value,
                found.parts,
                wait_s,
                request.request_id,
                request.route,
                request.model,
                principal.subject if principal is not None else None,
                principal.tenant if principal is not None else None,
            )
        )

    def _add(self, rule: Rule, demand: Demand, request: Limited) -> ActiveKey:
        # A key in use that is evicted is added again by its next request.
        old = self._keys.pop(demand.key, None)
        if old is not None:
            self.evictions += 1
        while len(self._keys) >= _KEYS_CAP:
            del self._keys[next(iter(self._keys))]
            self.evictions += 1
        parts = tuple(part(request)[:128] for part in rule.key)
        new = ActiveKey(rule, parts, replace(demand, amount=0.0, holder=""))
        if old is not None:
            new.refused, new.refused_at = old.refused, old.refused_at
        self._keys[demand.key] = new
        return new
