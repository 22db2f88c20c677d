"""Conditions of alerts: told once when they begin, and once when they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.telemetry.alerts.conditions import AlertThresholds, Conditions, Observation

THRESHOLDS = AlertThresholds(soft=0.8, error_rate=0.1, silent_streams=3)
DAY_S = 86_400.0


def told(conditions: Conditions, **seen: Any) -> list[tuple[str, str, str]]:
    found = conditions.see(Observation(seen.pop("at", 0.0), **seen))
    return [(one.kind.value, one.state.value, one.subject) for one in found]


def workers(*states: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Return upstream `a` as workers see it: the states of its endpoints in each."""
    return [[{"name": "a", "endpoints": [{"state": one} for one in each]}] for each in states]


def test_an_upstream_is_down_when_most_workers_have_no_endpoint() -> None:
    conditions = Conditions(THRESHOLDS)
    down, up = ["ejected", "unhealthy"], ["ejected", "healthy"]
    assert told(conditions, upstreams=workers(up, up, down)) == []
    began = [("upstream_down", "firing", "upstream a")]
    assert told(conditions, upstreams=workers(up, down, down)) == began
    assert told(conditions, upstreams=workers(down, down, down)) == []
    # A trial is no recovery.
    assert told(conditions, upstreams=workers(["probing", "ejected"], down, down)) == []
    ended = [("upstream_down", "resolved", "upstream a")]
    assert told(conditions, upstreams=workers(up, up, down)) == ended
    assert told(conditions, upstreams=workers(up, up, up)) == []


def test_no_answer_of_workers_changes_nothing() -> None:
    conditions = Conditions(THRESHOLDS)
    assert told(conditions, upstreams=workers(["ejected"])) != []
    assert told(conditions, upstreams=[]) == []
    assert told(conditions, upstreams=workers([])) == []
    assert told(conditions, upstreams=workers(["ejected"])) == []


def test_an_error_rate_needs_requests_and_ends_at_half() -> None:
    conditions = Conditions(THRESHOLDS)
    assert told(conditions, requests={"r": 19.0}, failed={"r": 19.0}) == []
    began = [("error_rate", "firing", "route r")]
    assert told(conditions, requests={"r": 20.0}, failed={"r": 2.0}) == began
    assert told(conditions, requests={"r": 100.0}, failed={"r": 6.0}) == []
    ended = [("error_rate", "resolved", "route r")]
    assert told(conditions, requests={"r": 100.0}, failed={"r": 4.0}) == ended


def test_an_error_rate_ends_when_nobody_asks() -> None:
    conditions = Conditions(THRESHOLDS)
    told(conditions, requests={"r": 20.0}, failed={"r": 20.0})
    assert told(conditions) == [("error_rate", "resolved", "route r")]


def test_silent_streams_are_counted_by_upstream() -> None:
    conditions = Conditions(THRESHOLDS)
    assert told(conditions, silent={"a": 2.0, "b": 3.0}) == [
        ("silent_streams", "firing", "upstream b")
    ]
    assert told(conditions) == [("silent_streams", "resolved", "upstream b")]


def test_prompts_that_are_not_recorded_are_told_until_all_are_recorded_again() -> None:
    conditions = Conditions(THRESHOLDS)
    assert told(conditions) == []
    assert told(conditions, lost=1.0) == [("prompt_audit", "firing", "prompt audit")]
    assert told(conditions, unrecorded=2.0, lost=1.0) == []
    assert told(conditions, unrecorded=1.0) == []
    assert told(conditions) == [("prompt_audit", "resolved", "prompt audit")]


def budget(
    remaining: float, soft: float | None = None, refused_at: float | None = None
) -> list[dict[str, Any]]:
    one = {"limit": "team", "parts": ["acme"], "size": 100.0, "remaining": remaining}
    one["refused_at"] = refused_at
    return [{**one, "currency": "USD", "period": "day", "soft": soft}]


def test_a_budget_is_told_at_its_soft_limit_and_at_its_end_once_in_a_period() -> None:
    conditions = Conditions(THRESHOLDS)
    assert told(conditions, budgets=budget(21.0)) == []
    assert told(conditions, budgets=budget(20.0)) == [("budget_soft", "firing", "team of acme")]
    assert told(conditions, budgets=budget(0.0)) == [("budget_exhausted", "firing", "team of acme")]
    assert told(conditions, budgets=[]) == []  # others were used more recently
    assert told(conditions, budgets=budget(0.0)) == []
    assert told(conditions, budgets=budget(10.0)) == []
    assert told(conditions, at=DAY_S, budgets=budget(99.0)) == []
    assert len(told(conditions, at=DAY_S, budgets=budget(5.0))) == 1


def test_a_budget_that_refuses_a_request_is_used_up() -> None:
    refusing = budget(30.0, refused_at=10.0)
    assert told(Conditions(THRESHOLDS), at=20.0, budgets=refusing)[0][0] == "budget_exhausted"
    assert told(Conditions(THRESHOLDS), at=DAY_S, budgets=refusing) == []


def test_a_soft_limit_of_its_own_comes_first() -> None:
    assert told(Conditions(THRESHOLDS), budgets=budget(45.0, soft=0.5)) != []
    assert told(Conditions(THRESHOLDS), budgets=budget(15.0, soft=0.9)) == []


def test_a_budget_of_nothing_is_used_up() -> None:
    nothing = [{**one, "size": 0.0} for one in budget(0.0)]
    assert told(Conditions(THRESHOLDS), budgets=nothing)[0][0] == "budget_exhausted"


def test_the_sentence_has_the_figures() -> None:
    (event,) = Conditions(THRESHOLDS).see(Observation(0.0, budgets=budget(10.0)))
    assert event.text == "The budget team of acme, 100 USD for 1970-01-01, is used to 90%"
    assert event.facts["remaining"] == 10.0
