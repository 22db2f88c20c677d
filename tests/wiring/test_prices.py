"""Prices out of the configuration."""

from __future__ import annotations

from gateway.config import load_text
from gateway.limiting.rules import Price
from gateway.wiring.prices import prices

TEXT = """
upstreams: {u: {endpoints: [{url: "http://127.0.0.1:1"}]}}
models:
  plain: {upstream: u, price: {input: 1, output: 2}}
  whole: {upstream: u, price: {input: 1, output: 2, cache_read: 0, cache_write: 3, reasoning: 4,
                               currency: EUR}}
  free: {upstream: u}
routes: [{name: r, path: /v1/, auth: anonymous, models: [plain, whole, free]}]
"""


def test_a_kind_without_a_price_costs_what_the_others_cost() -> None:
    found = prices(load_text(TEXT))
    assert found == {
        "plain": (Price(1, 2, 1, 1, 2), "USD"),
        "whole": (Price(1, 2, 0, 3, 4), "EUR"),
    }
