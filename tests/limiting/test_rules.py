"""What usage costs, and who shares a limit."""

from __future__ import annotations

import pytest

from gateway.exchange import Exchange
from gateway.limiting.rules import KeyPart, Price, ip_key, subject_key, tenant_key
from gateway.usage import Usage

PRICE = Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75, reasoning=10.0)


def test_each_kind_of_token_costs_its_own_price() -> None:
    used = Usage(1000, 200, cached=600, cache_write=100, reasoning=50)
    assert PRICE.of(used) == pytest.approx(300 * 3 + 600 * 0.3 + 100 * 3.75 + 150 * 15 + 50 * 10)


def test_tokens_of_no_special_kind_cost_input_and_output() -> None:
    assert PRICE.of(Usage(1000, 200)) == 1000 * 3 + 200 * 15


@pytest.mark.parametrize("key", [subject_key, tenant_key, ip_key])
def test_a_caller_without_a_name_shares_the_limit_of_its_ipv6_network(key: KeyPart) -> None:
    first, second, other = (
        key(Exchange("POST", address, trusted_peer=False))
        for address in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    )
    assert first == second
    assert first != other
