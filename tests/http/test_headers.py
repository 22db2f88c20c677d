"""The sets of header fields, and how fields are read and written."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http import headers

SETS = {
    "HOP_BY_HOP": headers.HOP_BY_HOP,
    "FORWARDING": headers.FORWARDING,
    "IDENTITY": headers.IDENTITY,
    "CREDENTIALS": headers.CREDENTIALS,
    "OURS": headers.OURS,
}
field_names = st.text("AZaz09!#$%&'*+.^_`|~-", min_size=1, max_size=20)
field_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=40)


@pytest.mark.parametrize("name", SETS)
def test_names_are_written_as_they_are_looked_up(name: str) -> None:
    for field in SETS[name]:
        assert field == field.strip().lower()
        assert b"_" not in field


def test_a_field_has_one_reason_to_be_dropped() -> None:
    for (one, first), (other, second) in combinations(SETS.items(), 2):
        assert not first & second, f"{one} and {other}"


def test_every_connection_field_of_rfc_9110_is_hop_by_hop() -> None:
    named = {b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding"}
    assert named | {b"upgrade", b"trailer"} <= headers.HOP_BY_HOP


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (b"close", {b"close"}),
        (b"Keep-Alive, X-Private", {b"keep-alive", b"x-private"}),
        (b" a ,\tB\t,a", {b"a", b"b"}),
    ],
)
def test_a_connection_header_nominates_in_any_case(value: bytes, tokens: set[bytes]) -> None:
    assert headers.connection_tokens(value) == tokens


@given(st.lists(field_names, min_size=1, max_size=6), st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_every_nominated_field_is_found(names: list[str], separator: str) -> None:
    tokens = headers.connection_tokens(separator.join(names).encode())
    assert tokens - {b""} == {name.lower().encode() for name in names}


@given(st.binary(max_size=100))
def test_any_bytes_have_tokens_without_commas_or_padding(value: bytes) -> None:
    for token in headers.connection_tokens(value):
        assert token == token.strip().lower()
        assert b"," not in token


@given(st.lists(st.tuples(field_names, field_values), max_size=6))
def test_fields_are_written_one_a_line_in_order(fields: list[tuple[str, str]]) -> None:
    written = headers.lines(fields).decode("latin-1")
    assert written.count("\r\n") == len(fields)
    read = [line.partition(": ") for line in written.split("\r\n")[:-1]]
    assert [(name, value) for name, _, value in read] == fields


@given(field_names.map(str.encode), st.sampled_from([b"", b"_"]))
def test_a_name_passes_as_it_did_the_first_time(name: bytes, extra: bytes) -> None:
    header_filter = headers.HeaderFilter(headers.HOP_BY_HOP)
    expected = (name + extra).lower() not in headers.HOP_BY_HOP and b"_" not in name + extra
    assert header_filter.find(name + extra) is expected
    assert header_filter.known[name + extra] is expected


@pytest.mark.parametrize("name", [b"connection", b"Connection", b"CONNECTION", b"x_real_ip"])
def test_a_field_that_is_dropped_is_dropped_in_any_spelling(name: bytes) -> None:
    assert not headers.HeaderFilter(headers.HOP_BY_HOP).find(name)


def test_what_is_remembered_of_names_is_bounded() -> None:
    header_filter = headers.HeaderFilter(headers.HOP_BY_HOP)
    for number in range(5000):
        header_filter.find(b"x-%d" % number)
    header_filter.find(b"x" * 1000)
    assert len(header_filter.known) <= 1000
    assert max(map(len, header_filter.known)) <= 64


def test_less_drops_more_and_leaves_the_other_as_it_was() -> None:
    header_filter = headers.HeaderFilter(headers.HOP_BY_HOP)
    less = header_filter.less(headers.ACCEPT_ENCODING)
    assert [less.find(name) for name in (b"Accept-Encoding", b"te", b"accept")] == [0, 0, 1]
    assert header_filter.find(b"Accept-Encoding")
