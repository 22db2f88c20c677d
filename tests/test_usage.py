"""Estimating what a request may use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.usage import Estimate, Usage, estimate, estimate_unread


def asked(document: dict[str, Any]) -> Estimate:
    return estimate(document, len(json.dumps(document)))


@pytest.mark.parametrize(
    ("document", "output"),
    [
        ({"messages": [], "max_tokens": 50}, 50),
        ({"messages": [], "max_completion_tokens": 60, "max_tokens": 50}, 60),
        ({"messages": [], "max_completion_tokens": 1, "max_tokens": 50}, 50),
        ({"messages": [], "max_output_tokens": 70, "max_tokens": 50}, 70),
        ({"messages": []}, 256),
        ({"messages": [], "max_tokens": 10, "n": 3}, 30),
        ({"messages": [], "max_tokens": 10, "n": 1000}, 10_000),
        ({"messages": [], "n": 1000}, 256_000),
        ({"messages": [], "max_tokens": 10, "n": 2, "best_of": 5}, 50),
        ({"prompt": ["a", "b", "c"], "max_tokens": 10, "n": 2}, 60),
        ({"prompt": [[1, 2], [3]], "max_tokens": 10}, 20),
        ({"prompt": [1, 2, 3], "max_tokens": 10}, 10),
        ({"messages": [], "max_tokens": "1000", "n": 2.0}, 2000),
        ({"messages": [], "max_tokens": True}, 256),
        ({"messages": [], "max_tokens": -1}, 256),
        ({"messages": [], "max_tokens": 2**64 - 1, "n": 2**64 - 1}, 1_000_000_000),
        ({"messages": [], "max_tokens": 1e400, "n": float("nan")}, 1_000_000_000),
        ({"messages": [], "options": {"num_predict": 9}}, 9),
        ({"messages": [], "max_tokens": 1, "options": {"num_predict": 9}}, 9),
        ({"input": "a", "stream": True, "max_output_tokens": 8}, 8),
    ],
)
def test_the_most_that_answers_may_take_is_reserved(document: dict[str, Any], output: int) -> None:
    size = len(json.dumps(document))
    assert asked(document).reserved(None, text=True) == Usage(size // 4 + 1, output)


def test_the_models_own_maximum_is_reserved_where_a_request_sets_none() -> None:
    assert asked({"messages": [], "n": 2}).reserved(8000, text=True).output == 16_000
    assert asked({"messages": [], "max_tokens": 5}).reserved(8000, text=True).output == 5


def test_no_output_is_reserved_where_answers_are_no_text() -> None:
    assert asked({"input": ["a", "b"]}).reserved(8000, text=False).output == 0


def test_an_image_is_not_reserved_by_its_length() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + "A" * 700_000}}
    reserved = asked({"messages": [{"content": [image]}], "max_tokens": 100}).reserved(
        None, text=True
    )
    assert reserved.total < 2000


def test_a_file_is_reserved_by_its_seconds_of_audio() -> None:
    assert estimate({}, 4_000_000).input == 10_001


def test_a_body_that_is_not_read_is_taken_for_text() -> None:
    assert estimate_unread(4000).reserved(None, text=True) == Usage(1001, 256)
    assert estimate_unread(0).reserved(None, text=True) == Usage(0, 0)


@given(
    st.dictionaries(
        st.sampled_from(["messages", "n", "prompt", "max_tokens", "options"]),
        st.none()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.none())
        | st.dictionaries(st.text(), st.none()),
    )
)
def test_any_body_has_an_estimate(document: dict[str, Any]) -> None:
    assert asked(document).reserved(None, text=True).total >= 0
