"""What operators see of limits: the keys of late, and who was refused."""

from __future__ import annotations

from gateway.exchange import Exchange
from gateway.limiting.accounts import Accounts
from gateway.limiting.activity import LimitActivity
from gateway.limiting.guard import OnStoreError
from gateway.limiting.keys import ip_key, route_key
from gateway.limiting.rules import Amount, Rule, Unit
from gateway.usage import Usage

NOTHING = Usage(0, 0)


def rule(size: float = 5.0) -> Rule:
    amount = Amount(size, per_s=1.0)
    return Rule("r", Unit.REQUESTS, (ip_key, route_key), amount, {}, OnStoreError.LOCAL, {})


def exchange(client: str = "10.0.0.1") -> Exchange:
    made = Exchange("POST", client, trusted_peer=False)
    made.route = "chat"
    made.request_id = "r1"
    return made


def note(limit_activity: LimitActivity, one: Rule, client: str = "10.0.0.1") -> None:
    made = exchange(client)
    limit_activity.note([one], [one.demand(made, NOTHING)], made)


def test_a_key_is_seen_once_with_its_parts() -> None:
    limit_activity, one = LimitActivity(), rule()
    for _ in range(3):
        note(limit_activity, one)
    (key,) = limit_activity.keys
    assert key.parts == ("10.0.0.1", "chat")
    assert key.look.amount == 0
    assert (key.look.size, key.refused, key.refused_at) == (5.0, 0, None)


def test_the_keys_of_an_account_are_seen_once_and_again_after_an_eviction() -> None:
    limit_activity, one = LimitActivity(), rule()
    accounts = Accounts([one], {})

    def note_account(client: str) -> None:
        made = exchange(client)
        account = accounts.of(made)
        limit_activity.note_account(account, account.demands(made, NOTHING), made)

    def clients() -> list[str]:
        return [key.parts[0] for key in limit_activity.keys]

    for _ in range(3):
        note_account("10.0.0.1")
    assert clients() == ["10.0.0.1"]
    for number in range(200):
        note_account(f"10.1.0.{number}")
    assert "10.0.0.1" not in clients()
    note_account("10.0.0.1")
    assert clients()[-1] == "10.0.0.1"


def test_after_a_reload_a_key_has_the_new_amounts_and_keeps_its_refusals() -> None:
    limit_activity, old = LimitActivity(), rule()
    limit_activity.refuse(old, old.demand(exchange(), NOTHING), 2.0, exchange())
    note(limit_activity, rule(size=50.0))
    (key,) = limit_activity.keys
    assert key.look.size == 50.0
    assert key.refused == 1


def test_keys_and_refusals_are_bounded() -> None:
    limit_activity, one = LimitActivity(), rule()
    for number in range(1000):
        made = exchange(f"10.0.{number // 250}.{number % 250}")
        note(limit_activity, one, made.client_ip)
        limit_activity.refuse(one, one.demand(made, NOTHING), 1.0, made)
    assert len(list(limit_activity.keys)) == 200
    assert len(limit_activity.refusals) == 100
    assert limit_activity.refusals[-1].parts == ("10.0.3.249", "chat")


def test_a_refusal_says_who_and_for_how_long() -> None:
    limit_activity, one = LimitActivity(), rule()
    limit_activity.refuse(one, one.demand(exchange(), NOTHING), 2.5, exchange())
    (refusal,) = limit_activity.refusals
    assert (refusal.limit, refusal.unit, refusal.route) == ("r", "requests", "chat")
    assert (refusal.request_id, refusal.wait_s, refusal.subject) == ("r1", 2.5, None)
