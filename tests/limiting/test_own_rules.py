"""Rules of allowances: made once, and bounded in memory."""

from __future__ import annotations

from gateway.auth.allowance import Allowance, Grant, GrantLevel
from gateway.auth.principal import Principal
from gateway.limiting.own_rules import OwnRules
from gateway.limiting.rules import Amount, Price, Unit

PRICES = {
    "m": (Price(1, 2, 1, 1, 2), "USD"),
    "n": (Price(3, 4, 3, 3, 4), "EUR"),
}
ALL = Allowance(
    requests="60/minute",
    burst=5,
    tokens="7200/hour",
    concurrency=3,
    budgets=("10 USD/day", "1000 tokens/week", "20 USD/month"),
    warn_at=0.5,
)


def principal(*grants: Grant) -> Principal:
    return Principal("ann", "keys", grants=grants)


def grant(holder: str, allowance: Allowance, level: GrantLevel = GrantLevel.TEAM) -> Grant:
    return Grant(level, holder, allowance)


def test_each_amount_of_an_allowance_has_a_rule() -> None:
    rules = OwnRules(PRICES).of(principal(grant("team:a", ALL)))
    assert [(rule.unit, rule.amount) for rule in rules] == [
        (Unit.REQUESTS, Amount(5.0, per_s=1.0)),
        (Unit.TOKENS, Amount(7200.0, per_s=2.0)),
        (Unit.CONCURRENCY, Amount(3.0)),
        (Unit.BUDGET_MONEY, Amount(10e6, period="day")),
        (Unit.BUDGET_TOKENS, Amount(1000.0, period="week")),
        (Unit.BUDGET_MONEY, Amount(20e6, period="month")),
    ]
    assert [rule.told for rule in rules] == [
        "The team's limit of 60 requests a minute",
        "The team's limit of 7200 tokens an hour",
        "The team's limit of 3 requests at once",
        "The team's budget of 10 USD/day",
        "The team's budget of 1000 tokens/week",
        "The team's budget of 20 USD/month",
    ]
    assert [set(rule.prices) for rule in rules if rule.unit is Unit.BUDGET_MONEY] == [{"m"}, {"m"}]


def test_rules_are_made_once_for_all_keys_of_a_team() -> None:
    own = OwnRules(PRICES)
    first = own.of(principal(grant("key:1", ALL, GrantLevel.KEY), grant("team:a", ALL)))
    second = own.of(principal(grant("team:a", Allowance.model_validate(ALL.record()))))
    assert all(one is other for one, other in zip(first[6:], second, strict=True))
    assert len(own) == 2


def test_a_changed_allowance_has_other_rules_under_the_same_counts() -> None:
    own = OwnRules(PRICES)
    [before] = own.of(principal(grant("team:a", Allowance(requests="1/minute"))))
    [after] = own.of(principal(grant("team:a", Allowance(requests="2/minute"))))
    assert before.prefix == after.prefix
    assert (before.amount, after.amount) != (after.amount, before.amount)


def test_rules_of_many_keys_take_bounded_memory() -> None:
    own = OwnRules(PRICES, cap=10)
    for number in range(100):
        own.of(principal(grant(f"key:{number}", ALL)))
    assert len(own) == 10
