"""Prices of models and of their deployments."""

from __future__ import annotations

from gateway.limiting.prices import place, price_at

PRICES = {"m": 1, place("m", "dear"): 9, "n": 2}


def test_a_deployment_has_its_own_price_or_that_of_the_model() -> None:
    assert price_at(PRICES, "m", "dear") == 9
    assert price_at(PRICES, "m", "other") == 1
    assert price_at(PRICES, "m", None) == 1
    assert price_at(PRICES, "n", "dear") == 2
    assert price_at(PRICES, "o", "dear") is None
