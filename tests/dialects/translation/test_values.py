"""Values of backend answers: a wrong type counts as absent, and odd JSON is read."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.translation.values import count, json_text, object_in, parsed, text_in


@pytest.mark.parametrize(
    ("data", "document"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'{"a": Infinity}', {"a": float("inf")}),
        (b'{"a": "x\ny"}', {"a": "x\ny"}),
        (b'{"a": "\\ud83d"}', {"a": "\ud83d"}),
        (b"[1]", None),
        (b"{", None),
        (b"", None),
    ],
)
def test_json_that_backends_send_is_read(data: bytes, document: Any) -> None:
    assert parsed(data) == document


@pytest.mark.parametrize("odd", [None, 1, True, [], {}])
def test_what_is_no_text_is_empty(odd: Any) -> None:
    assert text_in({"a": odd}, "a") == ""
    assert text_in({}, "a") == ""


@pytest.mark.parametrize("odd", [None, 1, "x", []])
def test_what_is_no_object_is_empty(odd: Any) -> None:
    assert object_in({"a": odd}, "a") == {}


@pytest.mark.parametrize("odd", [None, True, -1, 1.5, "1", 10**12])
def test_what_is_no_count_is_zero(odd: Any) -> None:
    assert count({"a": odd}, "a") == 0
    assert count({"a": 5}, "a") == 5


scalars = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=()))
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


@given(values)
def test_any_value_becomes_json_in_utf_8(value: Any) -> None:
    text = json_text(value)
    assert text.encode()
    json.loads(text)


def test_a_value_that_is_nested_too_deeply_is_an_error() -> None:
    value: Any = "\ud800"
    for _ in range(1000):
        value = [value]
    with pytest.raises(orjson.JSONEncodeError):
        json_text(value)
