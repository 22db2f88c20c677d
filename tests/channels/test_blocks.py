from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.channels.blocks import block_of, block_of_event
from gateway.errors import InvalidEvent
from gateway.sse import Event, EventSplitter

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1)


@given(TEXTS)
def test_a_block_is_one_event_with_the_same_data(text: str) -> None:
    splitter = EventSplitter()
    (event,) = splitter.feed(b"id: 1-0\n" + block_of(text.encode()))
    assert event.data == text.encode()
    assert (event.type, event.id) == (b"message", b"1-0")


def test_the_id_and_the_retry_time_of_a_publisher_are_dropped() -> None:
    block = block_of_event(Event(b": c\nid: 9\nretry: 1\nevent: t\ndata: a\ndata: b\n\n"))
    assert block == b"event: t\ndata: a\ndata: b\n\n"


@pytest.mark.parametrize("raw", [b": only a comment\n\n", b"event: t\n\n", b"data:\n\n", b"\n"])
def test_what_clients_ignore_is_not_published(raw: bytes) -> None:
    assert block_of_event(Event(raw)) is None


@pytest.mark.parametrize("kind", [b"gateway.open", b"x" * 129, b"a\nb", b"a\rb", b"a\0", b"\xff"])
def test_types_that_are_not_allowed(kind: bytes) -> None:
    with pytest.raises(InvalidEvent):
        block_of(b"x", kind)
