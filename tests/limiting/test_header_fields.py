"""Header fields that tell callers what remains."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.limiting.decision import Decision
from gateway.limiting.demand import Level, LimitVerdict
from gateway.limiting.guard import OnStoreError
from gateway.limiting.header_fields import HeaderFields
from gateway.limiting.rules import Amount, Rule, Unit


def fields(*limits: tuple[str, Unit, Amount]) -> HeaderFields:
    rules = [Rule(name, unit, (), of, {}, OnStoreError.LOCAL, {}) for name, unit, of in limits]
    return HeaderFields(rules, [of for _, _, of in limits])


def said(shown: HeaderFields, levels: Sequence[Level]) -> list[tuple[str, str]]:
    return Decision((), (), LimitVerdict(tuple(levels)), shown).header_pairs()


def test_each_limit_has_its_policy_and_its_state() -> None:
    shown = fields(
        ("user", Unit.REQUESTS, Amount(20.0, per_s=1.0)),
        ("user", Unit.TOKENS, Amount(1000.0, per_s=100.0)),
        ("slots", Unit.CONCURRENCY, Amount(8.0)),
        ("month", Unit.BUDGET_MONEY, Amount(5e8, period="month")),
    )
    levels = (Level(19, 0.2), Level(700, 3.0), Level(7, 0.0), Level(499_999_000, 1000.5))
    assert said(shown, levels) == [
        (
            "RateLimit-Policy",
            '"user";q=20;w=20, "user";q=1000;qu="tokens";w=10, '
            '"slots";q=8;qu="concurrent-requests", "month";q=500000000;qu="micro-money"',
        ),
        (
            "RateLimit",
            '"user";r=19;t=1, "user";r=700;t=3, "slots";r=7;t=0, "month";r=499999000;t=1001',
        ),
        ("x-ratelimit-limit-requests", "20"),
        ("x-ratelimit-remaining-requests", "19"),
        ("x-ratelimit-reset-requests", "0.200s"),
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "700"),
        ("x-ratelimit-reset-tokens", "3.000s"),
    ]


def test_of_several_limits_in_requests_openais_fields_show_the_one_with_the_least_left() -> None:
    shown = fields(
        ("a", Unit.REQUESTS, Amount(20.0, per_s=1.0)),
        ("b", Unit.REQUESTS, Amount(30.0, per_s=1.0)),
        ("c", Unit.REQUESTS, Amount(40.0, per_s=1.0)),
    )
    for remaining, quota in (((5, 3, 9), "30"), ((2, 3, 9), "20"), ((4, 4, 9), "30")):
        found = dict(said(shown, [Level(left, 1.0) for left in remaining]))
        assert found["x-ratelimit-limit-requests"] == quota
        assert found["x-ratelimit-remaining-requests"] == str(min(remaining))


def test_units_without_a_name_of_openais_have_no_fields_of_openais() -> None:
    shown = fields(("slots", Unit.CONCURRENCY, Amount(8.0)))
    assert [name for name, _ in said(shown, [Level(7, 0.0)])] == ["RateLimit-Policy", "RateLimit"]


def test_a_decision_that_is_not_shown_has_no_fields() -> None:
    silent = Decision((), (), LimitVerdict(()), None)
    assert (silent.header_lines(), silent.header_pairs()) == (b"", [])
