"""A JSON body: its model read, and values replaced without touching another byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.json_body import (
    continued,
    is_heavy,
    is_heavy_to_edit,
    is_heavy_to_read,
    is_plain,
    read,
    read_elsewhere,
)


def model_of(body: bytes) -> str | None:
    return read(body).model


def rename(body: bytes, name: str) -> bytes:
    parsed = read(body)
    parsed.rename(name)
    return parsed.rendered()


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
    assert model_of(encoded) == expected["model"]
    renamed = rename(encoded, "nëw")
    assert json.loads(renamed) == {**expected, "model": "nëw"}
    assert list(json.loads(renamed)) == list(expected)
    assert len(renamed) - len('"nëw"'.encode()) < len(encoded)


@given(objects)
def test_a_body_without_one_has_none(fields: dict[str, object]) -> None:
    assert model_of(json.dumps(fields).encode("utf-8", "replace")) is None


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
    assert model_of(body) == expected
    if expected is not None:
        assert json.loads(rename(body, "new")) == {**json.loads(body), "model": "new"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"model":"a","model":"b"}', "more than once"),
        (b'{"model":"a","mod\\u0065l":"b"}', "more than once"),
        (b'{"model":"a","Model":"b"}', "another case"),
        (b'{"MODEL":"b"}', "another case"),
        (b'{"modeL":"b"}', "another case"),
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
        model_of(body)


# -- JSON as no serialiser writes it: doubled and escaped keys, white space anywhere --------------

spaces = st.sampled_from(["", " ", "\n", "\t\r\n "])
strings = st.sampled_from(
    [r'"a"', '""', r'"\""', r'"\\"', r'"\"model\":\"x\""', r'"\u0061"', r'"\ud83d\ude00"', '"é"']
)
keys = st.sampled_from(['"x"', '"models"', '"mode"', r'"\"model"', r'"model\\"', r'"mod\n"', '""'])
same = ['"model"', '"model"', r'"\u006dodel"', r'"\u006Dodel"', r'"mod\u0065\u006C"']
spellings = st.sampled_from([*same, '"Model"', '"MODEL"', r'"\u004dodel"'])
values: st.SearchStrategy[str] = st.deferred(
    lambda: (
        strings
        | st.sampled_from(["null", "true", "0", "-1.5e3", "[]", "{}"])
        | st.lists(strings | values, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(members(keys | spellings, strings | values), max_size=3).map(
            lambda found: "{" + ",".join(found) + "}"
        )
    )
)


def members(names: st.SearchStrategy[str], of: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda key, value, *pads: f"{pads[0]}{key}{pads[1]}:{pads[2]}{value}{pads[3]}",
        *(names, of, spaces, spaces, spaces, spaces),
    )


others = st.lists(members(keys, values), max_size=3)


@given(others, members(st.sampled_from(same), st.just("@")), strings, others)
def test_a_rename_changes_the_bytes_of_the_name_and_no_other(
    before: list[str], member: str, value: str, behind: list[str]
) -> None:
    head, _, tail = ",".join([*before, member, *behind]).partition("@")
    body = f"{{{head}{value}{tail}}}".encode()
    assert model_of(body) == json.loads(value)
    assert rename(body, "new") == f'{{{head}"new"{tail}}}'.encode()


@given(st.lists(members(keys | spellings, values), max_size=5))
def test_it_agrees_with_another_parser_on_the_model_or_refuses(fields: list[str]) -> None:
    body = "{" + ",".join(fields) + "}"
    pairs = json.loads(body, object_pairs_hook=tuple)
    named = [(key, value) for key, value in pairs if key.lower() == "model"]
    plain = [value for key, value in named if key == "model"]
    if not named or (len(named) == 1 and plain and isinstance(plain[0], str | None)):
        assert model_of(body.encode()) == (plain[0] if plain else None)
    else:
        with pytest.raises(RequestError):
            model_of(body.encode())


@given(st.binary(max_size=60) | st.text('{}[]":,\\modelu06d \n1', max_size=40).map(str.encode))
def test_any_bytes_have_a_model_or_none_or_are_refused(body: bytes) -> None:
    try:
        model = model_of(body)
    except RequestError:
        return
    document = json.loads(body)
    assert model == document.get("model")
    if model is not None:
        assert json.loads(rename(body, "new")) == {**document, "model": "new"}


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"model":"a"}',
        '{"model":"a"}'.encode("utf-16"),
        '{"model":"a"}'.encode("utf-32-le"),
        b'{"model":"a","x":NaN}',
        b'{"model":"a",}',
        b"{'model':'a'}",
        b'{"model":"a"}//',
        b'{"model":"\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_what_only_some_parsers_take_for_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        model_of(body)
    assert caught.value.code == "invalid_json"


# -- a stream asked for its usage


@pytest.mark.parametrize(
    "document",
    [
        {"stream": True, "model": "m"},
        {"model": "m", "stream": True, "stream_options": {"include_usage": False, "x": [1, "é"]}},
        {"model": "m", "stream": True, "stream_options": None},
        {"model": "m", "stream": True, "stream_options": {}},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_usage_is_asked_for_and_nothing_else_changes(
    document: dict[str, Any], indent: int | None
) -> None:
    parsed = read(json.dumps(document, indent=indent).encode())
    assert parsed.ask_for_usage()
    said = json.loads(parsed.rendered())
    options = document.get("stream_options") or {}
    assert said == {**document, "stream_options": {**options, "include_usage": True}}


@pytest.mark.parametrize(
    "document",
    [
        {"model": "m"},
        {"model": "m", "stream": False},
        {"model": "m", "stream": True, "stream_options": {"include_usage": True}},
    ],
)
def test_a_request_that_needs_no_change_gets_none(document: dict[str, Any]) -> None:
    parsed = read(json.dumps(document).encode())
    assert not parsed.ask_for_usage()
    assert parsed.rendered() is parsed.raw


def test_both_changes_at_once_leave_the_rest_as_it_is() -> None:
    parsed = read(b'{ "model":"a", "stream":true,"x":[1, 2],"stream_options" : null }')
    parsed.rename("b")
    assert parsed.ask_for_usage()
    assert parsed.rendered() == (
        b'{ "model":"b", "stream":true,"x":[1, 2],"stream_options" : {"include_usage":true} }'
    )
    assert parsed.parsed_as_sent(parsed.rendered()) == json.loads(parsed.rendered())
    assert parsed.parsed_as_sent(b"{}") is None
    assert parsed.unasked() == parsed.raw.replace(b'"a"', b'"b"')
    parsed.rename("c")
    assert json.loads(parsed.rendered())["model"] == "c"


# -- what another process reads of a heavy body


@given(others, members(st.sampled_from(same), st.just("@")), strings, others)
def test_a_body_read_elsewhere_is_changed_like_one_read_here(
    before: list[str], member: str, value: str, behind: list[str]
) -> None:
    head, _, tail = ",".join([*before, member, *behind]).partition("@")
    body = f"{{{head}{value}{tail}}}".encode()
    there, here = read_elsewhere(body), read(body)
    there.raw = body
    assert (there.model, there.asked) == (here.model, here.asked)
    there.rename("new")
    here.rename("new")
    assert there.rendered() == here.rendered()
    assert there.parsed_as_sent(there.rendered()) is None


def test_what_is_long_in_a_body_read_elsewhere_stays_there() -> None:
    document = {"model": "m", "stream": True, "messages": [{"a": "b"}] * 5000, "x": {"y": 1}}
    there = read_elsewhere(json.dumps(document).encode())
    assert there.document == {**document, "messages": []}
    assert not there.whole


@pytest.mark.parametrize(
    ("body", "heavy"),
    [
        (b'{"model":"m","x":[%b]}' % b",".join([b"[]"] * 20_000), False),
        (b'{"model":"m","x":[%b]}' % b",".join([b"[]"] * 2_000_000), True),
        (b'{"model":"m","x":"%b"}' % (b"a" * 9_000_000), False),
        (b'{"model":"m","x":[%b]}' % b",".join([b'"a"'] * 500_000), True),
        (b'{"model":"m","x":"%b"}' % (b'a, \\"b\\" ' * 100_000), False),
        (b'{"model":"m","x":[%b]}' % b",".join([b'{"a":"%b"}' % (b"b" * 500)] * 2_000), False),
    ],
)
def test_a_body_is_heavy_by_what_is_in_it_not_by_its_size(body: bytes, heavy: bool) -> None:
    assert is_heavy(body) is heavy


def test_a_body_that_may_name_its_model_twice_is_heavy_by_its_strings() -> None:
    few = b'{"x":{"model":"b"},"model":"m","y":"%b"}' % (b"a" * 2_000_000)
    many = b'{"x":{"model":"b"},"model":"m","y":[%b]}' % b",".join([b'"%b"' % (b"a" * 30)] * 30_000)
    assert not is_plain(few)
    assert not is_heavy_to_read(few, plain=False)
    assert not is_heavy_to_read(many, plain=True)
    assert is_heavy_to_read(many, plain=False)


def test_what_is_nested_too_deeply_to_be_written_again_is_refused() -> None:
    deep = b"[" * 300 + b"]" * 300
    parsed = read(b'{"model": "m", "stream": true, "stream_options": {"x": %b}}' % deep)
    assert parsed.ask_for_usage()
    with pytest.raises(RequestError, match="nested too deeply"):
        parsed.rendered()
    with pytest.raises(RequestError, match="nested too deeply"):
        continued(b'{"messages": [], "x": %b}' % deep, "text", 1, None, final=False)


def test_one_edit_does_not_show_in_another_body() -> None:
    first, second = read(b'{"model":"a"}'), read(b'{"model":"a"}')
    first.rename("b")
    assert second.rendered() == b'{"model":"a"}'


def test_a_body_of_many_keys_is_not_searched_on_the_event_loop() -> None:
    keys = b",".join(b'"k%d":1' % number for number in range(100_000))
    assert is_heavy_to_edit(b"{%b}" % keys)
    assert not is_heavy_to_edit(b'{"a":"%b"}' % (b"\\\\" * 400_000))
