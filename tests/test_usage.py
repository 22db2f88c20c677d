"""Estimating what a request may use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.usage import Usage, estimate


@pytest.mark.parametrize(
    ("document", "output"),
    [
        ({"messages": [], "max_tokens": 50}, 50),
        ({"messages": [], "max_completion_tokens": 60, "max_tokens": 50}, 50),
        ({"messages": []}, 256),
        ({"messages": [], "max_tokens": 10, "n": 3}, 30),
        ({"messages": [], "max_tokens": True}, 256),
        ({"messages": [], "max_tokens": 2**64 - 1}, 10_000_000),
        ({"messages": [], "options": {"num_predict": 9}}, 9),
        ({"input": ["a", "b"]}, 0),
        ({"input": "a", "stream": True, "max_output_tokens": 8}, 8),
    ],
)
def test_what_an_answer_may_take_is_reserved(document: dict[str, Any], output: int) -> None:
    body = json.dumps(document).encode()
    assert estimate(body) == Usage(len(body) // 4 + 1, output)


@given(st.binary(max_size=200))
def test_any_body_has_an_estimate(body: bytes) -> None:
    assert estimate(body).total >= 0
