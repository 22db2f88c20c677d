"""Models that names and patterns stand for."""

from __future__ import annotations

import yaml

from gateway.config import load_text
from gateway.config.served_names import currencies, is_known, served_models, upstreams_of

TEXT = """
upstreams:
  own: {endpoints: [{url: "http://127.0.0.1:1"}]}
  vllm:
    endpoints: [{url: "http://127.0.0.1:2"}]
    discover_models: {prefix: vllm/, settings: {"*": {price: {input: 1, output: 1, currency: EUR}}}}
models:
  gpt-4o: {upstream: own, price: {input: 1, output: 1}}
  gpt-5: {upstream: own}
  o3:
    deployments:
      - {upstream: own, price: {input: 1, output: 1, currency: CHF}}
routes: [{name: r, path: /v1/, auth: anonymous, models: [o3, "gpt-*", "vllm/*"]}]
"""
CONFIG = load_text(TEXT)
[ROUTE] = CONFIG.routes


def test_a_route_serves_its_names_and_what_its_patterns_match() -> None:
    assert served_models(CONFIG, ROUTE) == ["o3", "gpt-4o", "gpt-5"]


def test_requests_may_go_to_upstreams_that_list_models_of_a_pattern() -> None:
    assert list(upstreams_of(CONFIG, ROUTE)) == ["own", "own", "own", "vllm"]
    document = yaml.safe_load(TEXT)
    document["routes"][0]["models"] = ["gpt-*"]
    narrow = load_text(yaml.safe_dump(document))
    assert set(upstreams_of(narrow, narrow.routes[0])) == {"own"}


def test_names_that_an_upstream_may_list_are_known() -> None:
    known = ["gpt-5", "gpt-*", "*", "vllm/x", "vllm/*"]
    assert all(is_known(CONFIG, name) for name in known)
    assert not any(is_known(CONFIG, name) for name in ("gpt-6", "ollama/x", "z*"))


def test_currencies_are_those_of_any_price() -> None:
    assert currencies(CONFIG) == {"USD", "EUR", "CHF"}
