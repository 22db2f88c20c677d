"""Equal JSON has equal keys, and everything else has another."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.response_cache.key import answer_key, canonical

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES).map(lambda one: {**one, "model": "m"})


def shuffled(value: Any, draw: random.Random) -> Any:
    if isinstance(value, dict):
        items = [*value.items()]
        draw.shuffle(items)
        return {key: shuffled(one, draw) for key, one in items}
    return [shuffled(one, draw) for one in value] if isinstance(value, list) else value


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal as JSON: 1, 1.0 and true are three values."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


@given(OBJECTS, st.randoms(use_true_random=False), st.booleans(), st.sampled_from([None, 2]))
def test_the_order_of_keys_white_space_and_escapes_do_not_count(
    document: Any, draw: random.Random, escaped: bool, indent: int | None
) -> None:
    other = json.dumps(shuffled(document, draw), ensure_ascii=escaped, indent=indent)
    assert canonical(other.encode()) == canonical(json.dumps(document).encode()) is not None


@given(OBJECTS, OBJECTS)
def test_every_other_difference_counts(one: Any, other: Any) -> None:
    keys = [canonical(json.dumps(document).encode()) for document in (one, other)]
    assert (keys[0] == keys[1]) == same(one, other)


@given(OBJECTS, st.data())
def test_one_changed_value_is_another_key(document: Any, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(document)))
    if key != "model":
        value = data.draw(VALUES)
        changed = canonical(json.dumps({**document, key: value}).encode())
        assert (changed == canonical(json.dumps(document).encode())) == same(value, document[key])


def test_the_model_is_left_out_at_the_top_only() -> None:
    assert canonical(b'{"model":"a","x":1}') == canonical(b'{"x":1,"model":"b"}')
    assert canonical(b'{"x":{"model":"a"}}') != canonical(b'{"x":{"model":"b"}}')


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        b'{"b":{"a":1,"\\u0061":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b"[]",
        b"",
        b'{"a":%b1%b}' % (b"[" * 100_000, b"]" * 100_000),
        b'{"a":"\xff"}',
    ],
)
def test_bodies_that_parsers_read_differently_have_no_key(body: bytes) -> None:
    assert canonical(body) is None


def test_large_integers_are_not_rounded() -> None:
    assert canonical(b'{"seed":100000000000000000000001}') != canonical(
        b'{"seed":100000000000000000000002}'
    )


@given(st.lists(st.binary()), st.lists(st.binary()))
def test_the_boundaries_of_parts_count(one: list[bytes], other: list[bytes]) -> None:
    assert (answer_key(one) == answer_key(other)) == (one == other)
