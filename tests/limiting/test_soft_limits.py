"""Soft limits: who is told, and how often."""

from __future__ import annotations

from gateway.auth.allowance import Allowance, Grant, GrantLevel
from gateway.auth.principal import Principal
from gateway.limiting.accounts import Accounts
from gateway.limiting.own_rules import OwnRules
from gateway.limiting.soft_limits import BudgetWarning, SoftLimits
from gateway.stores.memory.limits import MemoryLimits
from gateway.usage import Usage
from tests.limiting.test_accounts import caller

ALLOWANCE = Allowance(requests="1000/second", budgets=("100 tokens/day",), warn_at=0.8)
ANN = Principal("ann", "keys", grants=(Grant(GrantLevel.USER, "user:ann", ALLOWANCE),))


def test_a_budget_warns_from_its_share_on_and_is_reported_once() -> None:
    reported: list[BudgetWarning] = []
    soft, store = SoftLimits(reported.append), MemoryLimits()
    account = Accounts([], {}, own=OwnRules({})).of(caller(ANN))
    assert account.warned == (1,)
    told = []
    for _ in range(5):
        demands = account.demands(caller(ANN), Usage(10, 10))
        verdict = store.decide_now(demands)
        told.append(soft.check(account.warned, account.rules, demands, verdict))
    assert told == [
        None,
        None,
        None,
        "The user's budget of 100 tokens/day is used to 80%",
        "The user's budget of 100 tokens/day is used to 100%",
    ]
    [warning] = reported
    assert (warning.limit, warning.used) == ("own:user", 0.8)
    assert warning.holder.startswith("user:ann:")
    assert 0 < warning.resets_in_s <= 86_400
