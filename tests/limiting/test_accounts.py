"""Accounts: the rules of a route resolved for each caller once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.principal import Principal
from gateway.exchange import Exchange
from gateway.limiting.accounts import Accounts
from gateway.limiting.demand import Demand
from gateway.limiting.guard import OnStoreError
from gateway.limiting.keys import KEYS, claim_key
from gateway.limiting.rules import Amount, Price, Rule, Unit
from gateway.usage import Usage

ASKED = Usage(10, 20)
ANN = Principal("ann", "corp", tenant="acme", tier="gold", claims={"org": "o"})
BOB = Principal("bob", "corp", key_id="k1", limits=("own",))
PRICES = {"m": Price(1.0, 2.0, 1.0, 1.0, 2.0)}


def rule(unit: Unit = Unit.REQUESTS, name: str = "r", *keys: str) -> Rule:
    rate = unit in (Unit.REQUESTS, Unit.TOKENS)
    period = "month" if unit in (Unit.BUDGET_TOKENS, Unit.BUDGET_MONEY) else ""
    amount = Amount(5.0, per_s=1.0 if rate else 0.0, period=period)
    parts = tuple(KEYS[key] for key in keys or ("subject",))
    tiers = {"gold": replace(amount, size=50.0)}
    return Rule(name, unit, parts, amount, tiers, OnStoreError.LOCAL, PRICES)


def caller(
    principal: Principal | None = None,
    client_ip: str = "10.0.0.1",
    model: str | None = "m",
    route: str | None = "chat",
) -> Exchange:
    made = Exchange("POST", client_ip, trusted_peer=False)
    made.principal, made.model, made.route = principal, model, route
    return made


def known(demand: Demand) -> Demand:
    """The demand without what differs for each request."""
    return replace(demand, holder="", ttl_s=round(demand.ttl_s, -1))


callers = st.builds(
    caller,
    st.sampled_from([None, ANN, BOB, replace(ANN, tier=None), replace(ANN)]),
    st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1"]),
    st.sampled_from([None, "m", "n"]),
    st.sampled_from([None, "chat", "batch"]),
)


@given(st.lists(callers, max_size=20))
def test_an_account_makes_the_demands_that_its_rules_make(made: list[Exchange]) -> None:
    rules = [
        *(rule(unit) for unit in Unit),
        *(rule(Unit.REQUESTS, key, key) for key in KEYS),
        rule(Unit.CONCURRENCY, "several", *KEYS),
        replace(rule(), name="claim", key=(claim_key("org"),)),
    ]
    accounts = Accounts(rules, {})
    for one in made:
        account = accounts.of(one)
        demands = [known(demand) for demand in account.demands(one, ASKED)]
        assert demands == [known(rule.demand(one, ASKED)) for rule in rules]
        assert account.amounts == tuple(rule.amount_for(one) for rule in rules)


def test_an_account_is_made_once_for_a_caller() -> None:
    accounts = Accounts([rule()], {})
    assert accounts.of(caller(ANN)) is accounts.of(caller(ANN))
    assert accounts.of(caller(ANN)) is not accounts.of(caller(BOB))


def test_each_slot_has_a_holder_of_its_own() -> None:
    account = Accounts([rule(Unit.CONCURRENCY)], {}).of(caller(ANN))
    holders = {account.demands(caller(ANN), ASKED)[0].holder for _ in range(100)}
    assert len(holders) == 100


def test_a_caller_has_its_own_limits_after_those_of_the_route() -> None:
    of_route, own = rule(), rule(Unit.TOKENS, "own")
    accounts = Accounts([of_route], {"own": [own, of_route]})
    assert accounts.of(caller(ANN)).rules == (of_route,)
    assert accounts.of(caller(BOB)).rules == (of_route, own)


def test_an_account_has_only_the_rules_that_apply() -> None:
    rules = [rule(), rule(Unit.TOKENS), rule(Unit.BUDGET_MONEY)]
    head = Accounts(rules, {}, lambda rule: not rule.needs_model).of(caller(ANN))
    assert (head.rules, head.is_metered) == (tuple(rules[:1]), False)
    body = Accounts(rules, {}, lambda rule: rule.needs_model).of(caller(ANN))
    assert (body.rules, body.is_metered) == (tuple(rules[1:]), True)


def test_the_number_of_accounts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.limiting.accounts._ACCOUNTS_CAP", 10)
    accounts = Accounts([rule(Unit.REQUESTS, "r", "ip")], {})
    keys = {
        accounts.of(one).demands(one, ASKED)[0].key
        for one in (caller(client_ip=f"10.0.0.{n}") for n in range(25))
    }
    assert len(keys) == 25
    assert len(accounts) <= 10


def test_requests_share_demands_but_not_the_list_of_them() -> None:
    account = Accounts([rule()], {}).of(caller(ANN))
    first, second = (account.demands(caller(ANN), ASKED) for _ in range(2))
    assert first == second
    assert first[0] is second[0]
    first.clear()  # a store that is not available replaces them
    assert account.demands(caller(ANN), ASKED) == second
