"""Members of a JSON object are replaced, removed and added, and every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.json_edits import (
    REMOVED,
    Edits,
    Nested,
    applied,
    edited,
    repeats_a_key,
    spans,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
KEYS = st.sampled_from(["a", "b", 'c"', "d\\", "ä"]) | st.text(max_size=3)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=6)
EDITS = st.dictionaries(KEYS, JSON | st.just(REMOVED), max_size=4)


@pytest.mark.parametrize(
    ("body", "edits", "then"),
    [
        (b'{"a" : 1 , "b":[1.0, 2]}', {"a": 2}, b'{"a" : 2 , "b":[1.0, 2]}'),
        (b'{"a":1, "b":2}', {"a": REMOVED}, b'{"b":2}'),
        (b'{"a":1, "b":2 }', {"b": REMOVED}, b'{"a":1  }'),
        (b'{"a":1,"b":2,"c":3}', {"b": REMOVED, "c": REMOVED}, b'{"a":1}'),
        (b'{"a":1,"b":2,"c":3}', {"a": REMOVED, "c": REMOVED}, b'{"b":2}'),
        (b' {\n "a": 1\n}\n', {"a": REMOVED}, b" {\n \n}\n"),
        (b"{}", {"a": 1}, b'{"a":1}'),
        (b'{"a":1}', {"a": REMOVED, "b": 2}, b'{"b":2}'),
        (b'{"a":1}', {"b": 2}, b'{"b":2,"a":1}'),
        (b'{"a":1,"\\u0061":2}', {"a": 3}, b'{"a":3,"\\u0061":3}'),
        (b'{"a":1,"b":2,"a":3}', {"a": REMOVED}, b'{"b":2}'),
        (b'{"x":{"a":1}}', {"a": REMOVED}, b'{"x":{"a":1}}'),
        (b'{"o":{ "a":1.0,"b":2}}', {"o": Nested({"b": 3})}, b'{"o":{ "a":1.0,"b":3}}'),
        (b'{"o":{"a":1}}', {"o": Nested({"a": REMOVED})}, b'{"o":{}}'),
        (b'{"o":null}', {"o": Nested({"a": 1})}, b'{"o":{"a":1}}'),
        (b"{}", {"o": Nested({"a": 1})}, b'{"o":{"a":1}}'),
        (b'{"\\ud800":1,"a":2}', {"a": 3}, b'{"\\ud800":1,"a":3}'),
    ],
)
def test_every_other_byte_stays(body: bytes, edits: Edits, then: bytes) -> None:
    assert edited(body, edits) == then


@given(OBJECTS, EDITS, st.booleans(), st.sampled_from([None, 2]))
def test_bytes_and_document_are_edited_alike(
    document: dict[str, Any], edits: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode(
        "utf-8", "surrogatepass"
    )
    made = edited(body, edits)
    assert json.loads(made) == applied(document, edits)


@given(OBJECTS)
def test_no_edit_changes_no_byte(document: dict[str, Any]) -> None:
    body = json.dumps(document, indent=1).encode()
    assert edited(body, {}) == body


def test_the_values_of_a_key_are_found_wherever_it_stands() -> None:
    body = b'{"a": 1 , "b":{"a":2}, "\\u0061":[3] }'
    assert [body[start:end] for start, end in spans(body, b"a")] == [b"1", b"[3]"]


@given(st.lists(st.sampled_from([b'\\"', b"\\\\", b"a", b"\\u005c", b"{"]), max_size=150))
def test_a_string_ends_where_it_ends_however_many_escapes_it_has(parts: list[bytes]) -> None:
    text = b'"%b"' % b"".join(parts)
    assert spans(b'{"a":%b,"b":1}' % text, b"a") == [(5, 5 + len(text))]


def test_a_key_is_found_to_be_repeated_where_parsers_disagree() -> None:
    for body in (b'{"a":1,"\\u0061":2}', b'{"o":{"a":1},"O": {"b":1,"b":2}}'):
        assert repeats_a_key(body, "o")
    for body in (b'{"a":1,"A":{"b":1},"c":["a","a",{"x":1,"x":1}]}', b'{"o":["a","a"],"p":"o"}'):
        assert not repeats_a_key(body, "o")
