"""A limit as a route applies it: whose key, how much, and what a request demands of it."""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from gateway.auth.claims import claim
from gateway.exchange import Exchange
from gateway.limiting.demand import Demand, Kind
from gateway.limiting.guard import OnStoreError
from gateway.limiting.period import current
from gateway.usage import Usage

LEASE_TTL_S = 60.0
"""How long the slot of a killed gateway stays taken."""
_KEY_CHARACTERS = 128
_holders = itertools.count()
_PROCESS = secrets.token_hex(6)

KeyPart = Callable[[Exchange], str]


class Unit(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"
    BUDGET_TOKENS = "budget_tokens"
    BUDGET_MONEY = "budget_money"


# A member looked up in its class costs as much as a call, and these are for every request.
_REQUESTS, _TOKENS, _CONCURRENCY = Unit.REQUESTS, Unit.TOKENS, Unit.CONCURRENCY
_TAKE, _LEASE = Kind.TAKE, Kind.LEASE


@dataclass(frozen=True, slots=True)
class Amount:
    """How much: of a rate, what flows in a second and the most at once; else just how much."""

    size: float
    per_s: float = 0.0
    period: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-units of money for one token; that is units for a million."""

    input: float
    output: float
    cache_read: float
    """For a token of the input that came from the backend's cache."""
    cache_write: float
    """For one that went into it."""
    reasoning: float
    """For a token of the output that is a thought."""

    def of(self, usage: Usage) -> float:
        """What a request costs, in micro-units."""
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
    """One limit, counted in one unit."""

    name: str
    unit: Unit
    key: Sequence[KeyPart]
    amount: Amount
    tiers: Mapping[str, Amount]
    on_store_error: OnStoreError
    prices: Mapping[str, Price]
    prefix: str = field(init=False, repr=False, compare=False)
    """What all its keys begin with."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", f"{self.name}:{self.unit.value}:")

    @property
    def needs_model(self) -> bool:
        """Whether the model, or the body, has to be known first."""
        return self.unit not in (Unit.REQUESTS, Unit.CONCURRENCY) or model_key in self.key

    def amount_for(self, exchange: Exchange) -> Amount:
        """How much this caller has: its tier's, or what everybody has."""
        principal = exchange.principal
        tier = principal.tier if principal is not None else None
        return self.tiers.get(tier, self.amount) if tier is not None else self.amount

    def demand(self, exchange: Exchange, asked: Usage) -> Demand:
        """What a request demands; `asked` is what it may use."""
        amount, unit = self.amount_for(exchange), self.unit
        key = self.prefix + self._identity(exchange)
        if unit is _REQUESTS:
            return Demand(_TAKE, key, 1.0, amount.size, amount.per_s)
        if unit is _TOKENS:
            return Demand(_TAKE, key, float(asked.total), amount.size, amount.per_s)
        if unit is _CONCURRENCY:
            # Workers are forks: they have the random part in common, and not the process id.
            holder = f"{_PROCESS}-{os.getpid()}-{next(_holders)}"
            return Demand(_LEASE, key, 1.0, amount.size, 0.0, LEASE_TTL_S, holder)
        name, left_s = current(amount.period, datetime.now(UTC))
        cost = self.cost(exchange, asked)
        return Demand(Kind.SPEND, f"{key}:{name}", cost, amount.size, ttl_s=left_s)

    def cost(self, exchange: Exchange, usage: Usage) -> float:
        """What usage costs in the rule's unit."""
        if self.unit is Unit.BUDGET_MONEY:
            price = self.prices.get(exchange.served or exchange.model or "")
            return price.of(usage) if price is not None else 0.0
        return float(usage.total)

    def _identity(self, exchange: Exchange) -> str:
        if len(self.key) == 1:
            text = self.key[0](exchange)
        else:  # lengths before several parts: no two lists of parts make one text
            text = "".join([f"{len(part)}:{part}" for key in self.key for part in (key(exchange),)])
        if len(text) > _KEY_CHARACTERS or not text.isprintable():
            return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return text


def subject_key(exchange: Exchange) -> str:
    """Each caller alone; without a principal, each address as `ip_key` tells it."""
    principal = exchange.principal
    return f"{principal.provider}/{principal.subject}" if principal else ip_key(exchange)


def tenant_key(exchange: Exchange) -> str:
    """All of a tenant together. A caller without one has a key of its own."""
    principal = exchange.principal
    if principal is not None and principal.tenant:
        return f"t:{principal.tenant}"
    return f"s:{subject_key(exchange)}"


def ip_key(exchange: Exchange) -> str:
    """Each client address, as trusted proxies tell it; of IPv6 the network of 64 bits, within which
    a caller can have any.
    """
    address = exchange.client_ip
    if ":" not in address:
        return address
    try:
        return str(ipaddress.IPv6Network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


def route_key(exchange: Exchange) -> str:
    """All on one route together."""
    return exchange.route or ""


def model_key(exchange: Exchange) -> str:
    """Each model, by the name callers use."""
    return exchange.model or ""


def api_key_key(exchange: Exchange) -> str:
    """Each API key; other credentials by their subject."""
    principal = exchange.principal
    return principal.key_id if principal and principal.key_id else f"s:{subject_key(exchange)}"


def claim_key(name: str) -> KeyPart:
    """Each value of a claim; without it, each caller alone."""

    def key(exchange: Exchange) -> str:
        value = claim(exchange.principal.claims, name) if exchange.principal else None
        if isinstance(value, str | int) and not isinstance(value, bool):
            return f"c:{value}"
        return f"s:{subject_key(exchange)}"

    return key


KEYS: Mapping[str, KeyPart] = {
    "subject": subject_key,
    "tenant": tenant_key,
    "ip": ip_key,
    "route": route_key,
    "model": model_key,
    "api_key": api_key_key,
}
"""The YAML word to whose key it is; `claim.NAME` is made by `claim_key`."""
