"""Rules of the allowances of keys, users and teams, which are set while the gateway runs.

Rules are made once for each allowance and shared by all requests that it applies to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.auth.allowance import Allowance, Grant, parse_budget
from gateway.auth.principal import Principal
from gateway.limiting.demand import Demand
from gateway.limiting.guard import OnStoreError
from gateway.limiting.keys import Caller, KeyPart
from gateway.limiting.rules import Amount, Price, Rule, Unit
from gateway.usage import Usage

CAP = 20_000
"""Maximum number of allowances whose rules are kept."""
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


_NOTHING = Usage(0, 0)


@dataclass(frozen=True, slots=True)
class _Nobody:
    """Request without a caller. The keys of these rules do not depend on the caller."""

    principal: Principal | None = None
    client_ip: str = ""
    route: str | None = None
    model: str | None = None
    served: str | None = None
    upstream: str | None = None
    request_id: str = ""


_NOBODY = _Nobody()


class OwnRules:
    """Rules of the allowances that principals have."""

    def __init__(self, prices: Mapping[str, tuple[Price, str]], *, cap: int = CAP) -> None:
        """`prices` are price and currency of each model that has a price."""
        self._prices = prices
        self._cap = cap
        self._known: dict[tuple[str, str], tuple[Allowance, Sequence[Rule]]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, principal: Principal) -> list[Rule]:
        """Return the rules of all allowances of a principal, which all have to grant a request."""
        return [rule for grant in principal.grants for rule in self._rules(grant)]

    def looks(self, grant: Grant) -> list[tuple[Rule, Demand]]:
        """Return the budgets of an allowance, each with a demand that reads it and spends
        nothing.
        """
        return [
            (rule, rule.demand_on(rule.key_of(_NOBODY), rule.amount, _NOBODY, _NOTHING))
            for rule in self._rules(grant)
            if rule.amount.period
        ]

    def _rules(self, grant: Grant) -> Sequence[Rule]:
        place = grant.level, grant.holder
        known = self._known.get(place)
        if known is not None and known[0] == grant.allowance:
            return known[1]
        if known is None and len(self._known) >= self._cap:
            del self._known[next(iter(self._known))]
        rules = tuple(self._made(grant))
        self._known[place] = grant.allowance, rules
        return rules

    def _made(self, grant: Grant) -> Iterator[Rule]:
        allowance, key = grant.allowance, (_constant(grant.holder),)

        def rule(
            unit: Unit,
            amount: Amount,
            what: str,
            prices: Mapping[str, Price] | None = None,
            warn_at: float | None = None,
        ) -> Rule:
            return Rule(
                f"own:{grant.level}",
                unit,
                key,
                amount,
                {},
                OnStoreError.LOCAL,
                prices or {},
                f"The {grant.level}'s {what}",
                warn_at,
            )

        if allowance.requests is not None:
            amount = _rate(allowance.requests, allowance.burst)
            yield rule(Unit.REQUESTS, amount, f"limit of {_worded(allowance.requests, 'requests')}")
        if allowance.tokens is not None:
            amount = _rate(allowance.tokens, allowance.token_burst)
            yield rule(Unit.TOKENS, amount, f"limit of {_worded(allowance.tokens, 'tokens')}")
        if allowance.concurrency is not None:
            what = f"limit of {allowance.concurrency} requests at once"
            yield rule(Unit.CONCURRENCY, Amount(float(allowance.concurrency)), what)
        for budget in allowance.budgets:
            number, unit, period = parse_budget(budget)
            what, warn_at = f"budget of {budget}", allowance.warn_at
            if unit == "tokens":
                yield rule(Unit.BUDGET_TOKENS, Amount(number, period=period), what, warn_at=warn_at)
            else:
                amount = Amount(number * 1e6, period=period)
                yield rule(Unit.BUDGET_MONEY, amount, what, self._priced(unit), warn_at)

    def _priced(self, currency: str) -> Mapping[str, Price]:
        return {name: price for name, (price, unit) in self._prices.items() if unit == currency}


def _constant(text: str) -> KeyPart:
    def key(caller: Caller) -> str:
        return text

    return key


def _rate(text: str, burst: int | None) -> Amount:
    number, _, unit = text.partition("/")
    return Amount(float(burst or number), per_s=int(number) / _SECONDS[unit])


def _worded(rate: str, what: str) -> str:
    number, _, unit = rate.partition("/")
    return f"{number} {what} a{'n' if unit == 'hour' else ''} {unit}"
