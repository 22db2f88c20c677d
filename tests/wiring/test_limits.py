"""Rules of limits: one for each unit that a limit counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config, load_text
from gateway.limiting.rules import Unit
from gateway.wiring.limits import per_second, rules
from tests.support.gateway import config_text, simple_config


def config(limit: dict[str, object], folder: Path) -> Config:
    document = simple_config("http://127.0.0.1:1") | {"limits": {"one": limit}}
    document["store"] = {"url": f"sqlite:///{folder}/store.db"}
    document["models"] = {"m": {"upstream": "main", "price": {"input": 1, "output": 2}}}
    return load_text(config_text(document, {}))


def test_each_unit_of_a_limit_is_a_rule(tmp_path: Path) -> None:
    limit = {
        "key": ["tenant", "model"],
        "requests": "60/minute",
        "burst": 5,
        "tokens": "1000/second",
        "concurrency": 3,
        "budget": "500 USD/month",
        "tiers": {"gold": {"requests": "600/minute"}},
    }
    made = {rule.unit: rule for rule in rules(config(limit, tmp_path))["one"]}
    assert made.keys() == {
        Unit.REQUESTS,
        Unit.TOKENS,
        Unit.CONCURRENCY,
        Unit.BUDGET_MONEY,
    }
    requests = made[Unit.REQUESTS]
    assert (requests.amount.size, requests.amount.per_s) == (5.0, 1.0)
    assert requests.tiers["gold"].per_s == 10.0
    assert "gold" not in made[Unit.TOKENS].tiers
    assert made[Unit.CONCURRENCY].amount.size == 3.0
    assert made[Unit.BUDGET_MONEY].amount.size == 500e6
    assert made[Unit.BUDGET_MONEY].amount.period == "month"


@pytest.mark.parametrize(
    ("rate", "per_s", "burst"),
    [("10/second", 10.0, 10.0), ("60/minute", 1.0, 60.0), ("36/hour", 0.01, 36.0)],
)
def test_a_rate_without_a_burst_may_be_used_at_once(rate: str, per_s: float, burst: float) -> None:
    assert per_second(rate) == pytest.approx((per_s, burst))
