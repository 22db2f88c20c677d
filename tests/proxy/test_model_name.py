"""The model's name in a JSON body: read, and replaced without touching another byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.proxy.model_name import read_model, rename_model

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.just("model"), inner, max_size=4)
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.text().filter(lambda key: key.lower() != "model"), json_values)


@given(objects, st.text(), st.booleans(), st.sampled_from([None, 1]), st.integers(0, 5))
def test_the_name_is_read_and_replaced_wherever_it_stands(
    fields: dict[str, object], name: str, ascii_only: bool, indent: int | None, place: int
) -> None:
    items = list(fields.items())
    items.insert(min(place, len(items)), ("model", name))
    body = json.dumps(dict(items), ensure_ascii=ascii_only, indent=indent)
    encoded = body.encode("utf-8", "replace")  # a lone surrogate is no UTF-8
    expected = json.loads(encoded)
    assert read_model(encoded) == expected["model"]
    renamed = rename_model(encoded, b'"n\\u00ebw"')
    assert json.loads(renamed) == {**expected, "model": "nëw"}
    assert list(json.loads(renamed)) == list(expected)
    assert len(renamed) - len(b'"n\\u00ebw"') < len(encoded)


@given(objects)
def test_a_body_without_one_has_none(fields: dict[str, object]) -> None:
    assert read_model(json.dumps(fields).encode("utf-8", "replace")) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a","x":"\\"model\\":\\"b\\""}', "a"),
        (b'{"x":{"model":"b"},"model":"a"}', "a"),
        (b'{"x":["model",":"],"model" \n : "a"}', "a"),
        (b'{"mod\\u0065l":"a"}', "a"),
        (b'{"model":"\\u0061"}', "a"),
        (b'{"model":null}', None),
    ],
)
def test_what_looks_like_the_key_elsewhere_is_not_it(body: bytes, expected: str | None) -> None:
    assert read_model(body) == expected
    if expected is not None:
        assert json.loads(rename_model(body, b'"new"')) == {**json.loads(body), "model": "new"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"model":"a","model":"b"}', "more than once"),
        (b'{"model":"a","mod\\u0065l":"b"}', "more than once"),
        (b'{"model":"a","Model":"b"}', "another case"),
        (b'{"MODEL":"b"}', "another case"),
        (b'{"model":["a"]}', "has to be a string"),
        (b'{"model":1}', "has to be a string"),
        (b'["model"]', "not a JSON object"),
        (b'{"model":"a"', "not valid JSON"),
        (b'{"model":"\xff"}', "not valid JSON"),
        (b"", "not valid JSON"),
        (b'{"model":"a"}{}', "not valid JSON"),
    ],
)
def test_what_an_upstream_might_read_otherwise_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        read_model(body)
