"""Construction of limit rules from the `limits` section.

The package `limits` parses rates. It does not decide: see docs/decisions/0011.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limits import parse as parse_rate

from gateway.auth.allowance import parse_budget
from gateway.config import Config, models
from gateway.limiting.guard import OnStoreError
from gateway.limiting.keys import key_part
from gateway.limiting.rules import Amount, Price, Rule, Unit
from gateway.wiring.prices import prices


def rules(config: Config) -> Mapping[str, Sequence[Rule]]:
    """Return the rules of each limit: one rule for each unit that the limit counts."""
    of_models = {name: price for name, (price, _) in prices(config).items()}
    return {name: _rules(name, limit, of_models) for name, limit in config.limits.items()}


def _rules(name: str, limit: models.Limit, of_models: Mapping[str, Price]) -> list[Rule]:
    keys = limit.key if isinstance(limit.key, tuple) else (limit.key,)
    amounts = _amounts(limit)
    tiers = {tier: _amounts(own) for tier, own in limit.tiers.items()}
    return [
        Rule(
            name,
            unit,
            tuple(key_part(word) for word in keys),
            amount,
            {tier: own[unit] for tier, own in tiers.items() if unit in own},
            OnStoreError(limit.on_store_error),
            of_models,
        )
        for unit, amount in amounts.items()
    ]


def _amounts(limit: models.Limit | models.Tier) -> dict[Unit, Amount]:
    amounts: dict[Unit, Amount] = {}
    if limit.requests is not None:
        amounts[Unit.REQUESTS] = _rate(limit.requests, limit.burst)
    if limit.tokens is not None:
        amounts[Unit.TOKENS] = _rate(limit.tokens, limit.token_burst)
    if limit.concurrency is not None:
        amounts[Unit.CONCURRENCY] = Amount(float(limit.concurrency))
    if limit.budget is not None:
        number, unit, period = parse_budget(limit.budget)
        if unit == "tokens":
            amounts[Unit.BUDGET_TOKENS] = Amount(number, period=period)
        else:
            amounts[Unit.BUDGET_MONEY] = Amount(number * 1e6, period=period)
    return amounts


def per_second(text: str) -> tuple[float, float]:
    """Return a rate per second, and its burst size. `text` must be a valid rate."""
    amount = _rate(text, None)
    return amount.per_s, amount.size


def _rate(text: str, burst: int | None) -> Amount:
    rate = parse_rate(text)
    return Amount(float(burst or rate.amount), per_s=rate.amount / rate.get_expiry())
