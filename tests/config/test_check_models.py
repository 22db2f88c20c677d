"""Checks of models that are configured or discovered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.config.documents import Document, said_of

PRICE = {"input": 1, "output": 2}


def found(discover: Any = True, served: Any = ("vllm/*",), **sections: Any) -> Document:
    """Return a document whose upstream lists its models."""
    upstream = {"endpoints": [{"url": "http://10.0.0.5:8000"}], "discover_models": discover}
    route = {"name": "r", "path": "/v1/", "auth": "anonymous", "models": [*served]}
    return {"upstreams": {"vllm": upstream}, "routes": [route], **sections}


def test_routes_may_name_models_that_an_upstream_lists() -> None:
    assert said_of(found({"prefix": "vllm/"}, ["vllm/*", "vllm/llama", "*"])) == []


@pytest.mark.parametrize("pattern", ["ollama/*", "gpt-4*"])
def test_a_pattern_that_can_match_nothing_is_a_mistake(pattern: str) -> None:
    [said] = said_of(found({"prefix": "vllm/"}, [pattern]))
    assert f"'{pattern}' matches no model" in said


def test_a_pattern_matches_configured_models_without_any_discovery() -> None:
    models = {"gpt-4o": {"upstream": "vllm"}}
    assert said_of(found(False, ["gpt-4*"], models=models)) == []


def test_a_configured_model_has_no_pattern_for_its_name() -> None:
    [said] = said_of(found(False, ["*"], models={"gpt-*": {"upstream": "vllm"}}))
    assert "models.gpt-*: holds a *" in said


def test_a_fallback_is_one_model() -> None:
    models = {"m": {"upstream": "vllm", "fallbacks": ["vllm/other", "vllm/*"]}}
    [said] = said_of(found({"prefix": "vllm/"}, ["m"], models=models))
    assert "models.m.fallbacks[1]: there is no model 'vllm/*'" in said


def test_settings_of_discovered_models_name_models_that_exist() -> None:
    settings = {"*": {"fallbacks": ["nowhere"], "mirror": {"to": "away"}}}
    said = said_of(found({"prefix": "vllm/", "settings": settings}))
    assert [one.rsplit(": ", 1)[1] for one in said] == [
        "there is no model 'nowhere'",
        "there is no model 'away'",
    ]


@pytest.mark.parametrize(
    ("settings", "is_fine"),
    [
        ({}, False),
        ({"*": {"price": PRICE}}, True),
        ({"llama-*": {"price": PRICE}}, False),
        ({"*": {"price": PRICE}, "llama-*": {"scopes": ["x"]}}, False),
        ({"*": {"price": {**PRICE, "currency": "EUR"}}}, False),
    ],
)
def test_a_budget_in_money_needs_a_price_for_whatever_is_listed(
    settings: Any, is_fine: bool
) -> None:
    document = found({"settings": settings}, ["*"])
    document["store"] = {"url": "sqlite:///l.db"}
    document["limits"] = {"b": {"budget": "5 USD/day", "key": "ip"}}
    document["routes"][0]["limits"] = ["b"]
    said = said_of(document)
    assert (said == []) == is_fine
    assert is_fine or "models that vllm lists may have no price in it" in said[0]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"upstream": "a", "price": PRICE}, {"upstream": "b", "price": PRICE}, None),
        ({"upstream": "a", "price": PRICE}, {"upstream": "b"}, None),
        (
            {"upstream": "a", "price": PRICE},
            {"upstream": "b", "price": {**PRICE, "currency": "EUR"}},
            "is in EUR, others are in USD",
        ),
        (
            {"upstream": "a", "price": PRICE},
            {"upstream": "a", "model": "x", "price": {"input": 9, "output": 9}},
            "differs from another one at a",
        ),
    ],
)
def test_prices_of_deployments_have_one_currency_and_one_price_at_each_upstream(
    first: Any, second: Any, said: str | None
) -> None:
    endpoint = {"endpoints": [{"url": "http://10.0.0.5:8000"}]}
    document = found(False, ["m"], models={"m": {"deployments": [first, second]}})
    document["upstreams"] = {"a": endpoint, "b": endpoint}
    problems = said_of(document)
    assert problems == [] if said is None else said in problems[0]


@pytest.mark.parametrize(("second", "is_fine"), [({"price": PRICE}, True), ({}, False)])
def test_a_budget_in_money_is_served_by_deployments_that_all_have_a_price(
    second: Any, is_fine: bool
) -> None:
    endpoint = {"endpoints": [{"url": "http://10.0.0.5:8000"}]}
    deployments = [{"upstream": "a", "price": PRICE}, {"upstream": "b", **second}]
    document = found(False, ["m"], models={"m": {"deployments": deployments}})
    document["upstreams"] = {"a": endpoint, "b": endpoint}
    document["store"] = {"url": "sqlite:///l.db"}
    document["limits"] = {"b": {"budget": "5 USD/day", "key": "ip"}}
    document["routes"][0]["limits"] = ["b"]
    assert (said_of(document) == []) == is_fine
