"""Hints for balancers: which need the parsed body. Their values: `tests/wire/test_balancing.py`."""

from __future__ import annotations

import pytest

from gateway.config import models
from gateway.routing.target import no_hint
from gateway.wiring.hints import hint_of, reads_json


@pytest.mark.parametrize(
    ("balance", "reads"),
    [
        ("round_robin", False),
        ("prefix", False),
        (models.HashKey(hash="subject"), False),
        (models.HashKey(hash="header.x-user"), False),
        (models.HashKey(hash="body.user"), True),
    ],
)
def test_only_a_field_of_the_body_needs_it_parsed(
    balance: str | models.HashKey, reads: bool
) -> None:
    assert reads_json(balance) is reads


def test_a_policy_that_looks_at_nothing_costs_nothing() -> None:
    assert hint_of("round_robin") is no_hint
