"""Searches with the C library, against those of Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.byte_search import occurs, occurs_twice

WHAT = b'"model"'
pieces = st.lists(st.sampled_from([WHAT, b'"mode', b'l"', b'"', b"\0", b"\\", b" " * 5000]))


@given(pieces)
def test_it_finds_what_python_finds(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert occurs(data, WHAT) == (WHAT in data)
    assert occurs_twice(data, WHAT) == (data.count(WHAT) > 1)


@pytest.mark.parametrize("size", [0, 4000, 10_000, 1_000_000])
def test_it_finds_the_first_and_the_last_bytes(size: int) -> None:
    filler = b"x" * size
    assert occurs(WHAT + filler, WHAT)
    assert occurs(filler + WHAT, WHAT)
    assert not occurs(filler + WHAT[:-1], WHAT)
    assert occurs_twice(WHAT + filler + WHAT, WHAT)
    assert not occurs_twice(WHAT + filler + WHAT[:-1], WHAT)


def test_a_zero_byte_does_not_end_the_search() -> None:
    assert occurs(b"\0" + b"x" * 10_000 + WHAT, WHAT)
    assert occurs_twice(WHAT + b"x" * 10_000 + b"\0" + WHAT, WHAT)
