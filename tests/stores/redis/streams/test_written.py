"""Entries of streams in Redis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.resume.log import StreamState
from gateway.stores.redis.streams.written import entry, parse_entry


@given(st.integers(1, 2**40), st.lists(st.binary(), min_size=1))
def test_events_are_read_back_as_they_were_written(first: int, events: list[bytes]) -> None:
    words = [
        word if isinstance(word, bytes) else str(word).encode() for word in entry(first, events)
    ]
    fields = dict(zip(words[::2], words[1::2], strict=True))
    assert parse_entry(fields) == (first, events, None)


def test_an_entry_without_events_tells_the_final_state() -> None:
    for state in StreamState:
        assert parse_entry({b"e": state.value.encode()}) == (0, [], state)
