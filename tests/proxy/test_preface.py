"""A stream that is not the first to speak has no byte order mark."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.preface import WithoutBom

BOM = b"\xef\xbb\xbf"


def passed(pieces: Iterable[bytes]) -> bytes:
    stream = WithoutBom()
    return b"".join([stream.feed(piece) for piece in pieces] + [stream.last(b"")])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_the_mark_at_the_beginning_goes_however_it_is_cut(size: int) -> None:
    data = BOM + b"data: 1\n\n" + BOM
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert passed(pieces) == b"data: 1\n\n" + BOM


@given(st.lists(st.binary(max_size=4)))
def test_nothing_else_does(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert passed(pieces) == data.removeprefix(BOM)
