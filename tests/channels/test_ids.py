from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.channels.ids import SEQUENCE_BITS, id_at, is_name, ms_of, parsed, written
from gateway.errors import InvalidEventId

IDS = st.builds(id_at, st.integers(0, 10**15 - 1), st.integers(0, (1 << SEQUENCE_BITS) - 1))


@given(IDS, IDS)
def test_ids_are_read_as_written_and_ordered_by_time_then_sequence(one: int, two: int) -> None:
    assert parsed(written(one).decode()) == one
    pairs = [tuple(map(int, written(each).split(b"-"))) for each in (one, two)]
    assert (one < two) == (pairs[0] < pairs[1])
    assert ms_of(one) == pairs[0][0]


def test_an_id_without_a_sequence_is_the_first_of_its_millisecond() -> None:
    assert parsed("5") == parsed("5-0") == id_at(5)


@pytest.mark.parametrize(
    "text", ["", "-", "1-", "-1", "1-1-1", "a", "1-1048576", "1" * 16, "\u0661"]
)
def test_other_texts_are_no_ids(text: str) -> None:
    with pytest.raises(InvalidEventId):
        parsed(text)


@pytest.mark.parametrize(
    ("text", "valid"),
    [("a", True), ("A-9_b.c", True), ("x" * 64, True), ("x" * 65, False), ("", False)]
    + [(text, False) for text in (".a", "-a", "_a", "a/b", "a b", "é", "a\n")],
)
def test_names_of_channels(text: str, valid: bool) -> None:
    assert is_name(text) is valid
