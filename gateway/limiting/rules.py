"""A limit as a route applies it: the key, the amount, and a request's demand on it."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.limiting.demand import Demand, Kind
from gateway.limiting.guard import OnStoreError
from gateway.limiting.keys import Caller, KeyPart, Limited, model_key
from gateway.limiting.period import Calendar
from gateway.limiting.prices import price_at
from gateway.usage import Usage

LEASE_TTL_S = 60.0
"""Time after which the slots of a killed gateway are free again."""
_KEY_CHARACTERS = 128


class Unit(StrEnum):
    """Unit in which a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"
    BUDGET_TOKENS = "budget_tokens"
    BUDGET_MONEY = "budget_money"


# Looking up an enum member costs as much as a call, and every request needs these.
_REQUESTS, _TOKENS, _CONCURRENCY = Unit.REQUESTS, Unit.TOKENS, Unit.CONCURRENCY
_BUDGET_MONEY = Unit.BUDGET_MONEY
_TAKE, _LEASE, _SPEND = Kind.TAKE, Kind.LEASE, Kind.SPEND
_CORRECTIONS = {
    Unit.TOKENS: Kind.ADJUST,
    Unit.BUDGET_TOKENS: Kind.CORRECT,
    Unit.BUDGET_MONEY: Kind.CORRECT,
}


class _Holders:
    """Holders of slots, each unique among all processes. A forked process starts a new series,
    because asking for the process id at each request costs a system call.
    """

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._series = f"{secrets.token_hex(8)}-"
        self._numbers = itertools.count()

    def next(self) -> str:
        """Return a new holder."""
        return f"{self._series}{next(self._numbers)}"


_holders = _Holders()


@dataclass(frozen=True, slots=True)
class Amount:
    """Size of a limit. For a rate: `size` is the burst, and `per_s` the refill rate."""

    size: float
    per_s: float = 0.0
    period: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """Prices in micro-units of money for one token, which equals units for a million tokens."""

    input: float
    output: float
    cache_read: float
    """Price of an input token read from the backend's cache."""
    cache_write: float
    """Price of an input token written to the backend's cache."""
    reasoning: float
    """Price of an output token that is reasoning."""

    def of(self, usage: Usage) -> float:
        """Return the cost of a request in micro-units."""
        cost = usage.input * self.input + usage.output * self.output
        if usage.cached:
            cost += usage.cached * (self.cache_read - self.input)
        if usage.cache_write:
            cost += usage.cache_write * (self.cache_write - self.input)
        if usage.reasoning:
            cost += usage.reasoning * (self.reasoning - self.output)
        return cost


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit in one unit."""

    name: str
    unit: Unit
    key: Sequence[KeyPart]
    amount: Amount
    tiers: Mapping[str, Amount]
    on_store_error: OnStoreError
    prices: Mapping[str, Price]
    """Prices by model, and by `place`."""
    told: str | None = None
    """The limit in words, for callers; None for a limit that the configuration names."""
    warn_at: float | None = None
    """Share of a budget from which on callers and operators are warned."""
    prefix: str = field(init=False, repr=False, compare=False)
    """Prefix of all its keys."""
    correction: Kind | None = field(init=False, repr=False, compare=False)
    """Kind of the demands that correct a reservation by actual use; None if nothing is reserved."""
    _calendar: Calendar = field(init=False, repr=False, compare=False, default_factory=Calendar)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", f"{self.name}:{self.unit.value}:")
        object.__setattr__(self, "correction", _CORRECTIONS.get(self.unit))

    @property
    def needs_model(self) -> bool:
        """True if the model or the body has to be known before the limit can be applied."""
        return self.unit not in (Unit.REQUESTS, Unit.CONCURRENCY) or model_key in self.key

    def amount_for(self, caller: Caller) -> Amount:
        """Return the caller's amount: that of its tier, else the default."""
        principal = caller.principal
        tier = principal.tier if principal is not None else None
        return self.tiers.get(tier, self.amount) if tier is not None else self.amount

    def key_of(self, caller: Caller) -> str:
        """Return the key that the caller shares with others. A budget adds its period to it."""
        return self.prefix + self._identity(caller)

    def demand(self, request: Limited, asked: Usage) -> Demand:
        """Return the demand of a request. `asked` is the usage that it may reach."""
        return self.demand_on(self.key_of(request), self.amount_for(request), request, asked)

    def demand_on(self, key: str, amount: Amount, request: Limited, asked: Usage) -> Demand:
        """Return the same demand. `key` and `amount` are those of its caller."""
        unit = self.unit
        if unit is _REQUESTS:
            return Demand(_TAKE, key, 1.0, amount.size, amount.per_s)
        if unit is _TOKENS:
            tokens = float(asked.input + asked.output)
            return Demand(_TAKE, key, tokens, amount.size, amount.per_s)
        if unit is _CONCURRENCY:
            return Demand(_LEASE, key, 1.0, amount.size, 0.0, LEASE_TTL_S, _holders.next())
        name, left_s = self._calendar.current(amount.period, time.time())
        cost = self.cost(request, asked)
        return Demand(_SPEND, f"{key}:{name}", cost, amount.size, 0.0, left_s)

    def fixed_demand(self, caller: Caller) -> Demand | None:
        """Return the demand of every request of a caller, if the limit counts requests."""
        if self.unit is not _REQUESTS:
            return None
        amount = self.amount_for(caller)
        return Demand(_TAKE, self.key_of(caller), 1.0, amount.size, amount.per_s)

    def cost(self, request: Limited, usage: Usage) -> float:
        """Return the cost of usage in the rule's unit."""
        if self.unit is _BUDGET_MONEY:
            price = price_at(self.prices, request.served or request.model or "", request.upstream)
            return price.of(usage) if price is not None else 0.0
        return float(usage.input + usage.output)

    def _identity(self, caller: Caller) -> str:
        if len(self.key) == 1:
            text = self.key[0](caller)
        else:  # each part is prefixed with its length, so that the text is unambiguous
            text = "".join([f"{len(part)}:{part}" for key in self.key for part in (key(caller),)])
        if len(text) > _KEY_CHARACTERS or not text.isprintable():
            return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return text


def unsettled(rules: Sequence[Rule]) -> tuple[tuple[int, Rule], ...]:
    """Return the rules, each with its place, for which there is something to correct or to release
    when a request ends.
    """
    return tuple((place, rule) for place, rule in enumerate(rules) if rule.unit is not _REQUESTS)
