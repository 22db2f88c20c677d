"""NDJSON, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.json_lines import Lines, LineSplitter, LineTooLong
from gateway.sse import EventTooLarge

pieces = st.lists(st.text("ab\n", max_size=6).map(str.encode), max_size=8)


@given(parts=pieces)
def test_the_lines_are_those_of_the_whole(parts: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for part in parts for line in splitter.feed(part)]
    assert [*lines, splitter.flush()] == b"".join(parts).split(b"\n")
    assert splitter.flush() == b""


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    splitter = LineSplitter()
    for _ in range(10):
        assert splitter.feed(b"x" * 1024 * 1024) == []
    with pytest.raises(LineTooLong) as caught:
        splitter.feed(b"x")
    assert caught.value.lines == []
    with pytest.raises(LineTooLong) as caught:
        LineSplitter().feed(b"one\ntwo\n" + b"x" * 11 * 1024 * 1024)
    assert caught.value.lines == [b"one", b"two"]


def test_a_line_without_an_end_is_given_up() -> None:
    with pytest.raises(EventTooLarge) as caught:
        Lines().feed(b"a\n" + b"x" * 11 * 1024 * 1024)
    assert [event.raw for event in caught.value.events] == [b"a\n"]
