"""Prices of usage."""

from __future__ import annotations

import pytest

from gateway.limiting.rules import Price
from gateway.usage import Usage

PRICE = Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75, reasoning=10.0)


def test_each_kind_of_token_costs_its_own_price() -> None:
    used = Usage(1000, 200, cached=600, cache_write=100, reasoning=50)
    assert PRICE.of(used) == pytest.approx(300 * 3 + 600 * 0.3 + 100 * 3.75 + 150 * 15 + 50 * 10)


def test_tokens_of_no_special_kind_cost_input_and_output() -> None:
    assert PRICE.of(Usage(1000, 200)) == 1000 * 3 + 200 * 15
