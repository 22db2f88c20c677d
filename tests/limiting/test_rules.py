"""Prices of usage."""

from __future__ import annotations

import os

import pytest

from gateway.exchange import Exchange
from gateway.limiting.guard import OnStoreError
from gateway.limiting.keys import ip_key
from gateway.limiting.rules import Amount, Price, Rule, Unit
from gateway.usage import Usage

PRICE = Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75, reasoning=10.0)


def test_each_kind_of_token_costs_its_own_price() -> None:
    used = Usage(1000, 200, cached=600, cache_write=100, reasoning=50)
    assert PRICE.of(used) == pytest.approx(300 * 3 + 600 * 0.3 + 100 * 3.75 + 150 * 15 + 50 * 10)


def test_tokens_of_no_special_kind_cost_input_and_output() -> None:
    assert PRICE.of(Usage(1000, 200)) == 1000 * 3 + 200 * 15


def test_holders_of_slots_are_unique_among_forked_processes() -> None:
    rule = Rule("c", Unit.CONCURRENCY, (ip_key,), Amount(1.0), {}, OnStoreError.LOCAL, {})
    caller = Exchange("POST", "10.0.0.1", trusted_peer=False)

    def holders() -> list[str]:
        return [rule.demand(caller, Usage(0, 0)).holder for _ in range(10)]

    found = holders()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, " ".join(holders()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found += [*pipe.read().split(), *holders()]
    assert len(set(found)) == 30
