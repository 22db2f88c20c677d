"""Stored answers are read as they were written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.response_cache.stored_answer import StoredAnswer, decoded


@given(
    st.lists(st.tuples(st.text(), st.text())),
    st.binary(),
    st.booleans(),
    st.integers(0, 2**53),
)
def test_an_answer_is_read_as_it_was_written(
    fields: list[tuple[str, str]], body: bytes, is_stream: bool, tokens: int
) -> None:
    answer = StoredAnswer(fields, body, is_stream, 10.0, 20.5, tokens, 3)
    assert decoded(answer.encoded()) == answer


@pytest.mark.parametrize("data", [b"", b"{}", b"[]\nx", b'{"v":0}\nx', b'{"v":1}\nx', b"\xff\n"])
def test_what_another_version_wrote_is_no_answer(data: bytes) -> None:
    assert decoded(data) is None


def test_the_age_is_never_negative() -> None:
    answer = StoredAnswer((), b"", False, 10.0, 20.0)
    assert (answer.age_s(15.0), answer.age_s(5.0)) == (5.0, 0.0)
