"""Prices out of the configuration."""

from __future__ import annotations

from gateway.config import load_text
from gateway.limiting.prices import place
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


def test_deployments_have_prices_of_their_own_and_the_dearest_is_the_models() -> None:
    text = """
upstreams:
  u: {endpoints: [{url: "http://127.0.0.1:1"}]}
  v: {endpoints: [{url: "http://127.0.0.1:2"}]}
models:
  m:
    deployments:
      - {upstream: u, price: {input: 1, output: 2}}
      - {upstream: v, price: {input: 3, output: 4}}
  n:
    price: {input: 5, output: 6}
    deployments: [{upstream: u, price: {input: 0, output: 0}}, {upstream: v}]
routes: [{name: r, path: /v1/, auth: anonymous, models: [m, n]}]
"""
    found = {
        name: (price.input, price.output) for name, (price, _) in prices(load_text(text)).items()
    }
    assert found == {
        "m": (3, 4),
        place("m", "u"): (1, 2),
        place("m", "v"): (3, 4),
        "n": (5, 6),
        place("n", "u"): (0, 0),
    }
