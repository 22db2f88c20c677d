"""Ids of streams and events, and events that get one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidEventId
from gateway.resume.ids import (
    Position,
    new_stream_id,
    numbered,
    numbered_events,
    parse_after,
    parse_event_id,
    slot_of,
)
from gateway.sse import Event, EventSplitter
from tests.support.sse_reference import read

STREAM = "0" * 34


@given(st.integers(0, 255))
def test_a_streams_id_says_whose_it_is_and_is_never_the_same(slot: int) -> None:
    one, two = new_stream_id(slot), new_stream_id(slot)
    assert one != two
    assert slot_of(one) == slot
    assert parse_event_id(f"{one}.7") == Position(one, 7)
    assert parse_after("7", one) == parse_after(f"{one}.7", one) == Position(one, 7)


@given(st.text())
def test_what_is_no_id_is_refused(text: str) -> None:
    assert slot_of(text) is None
    with pytest.raises(InvalidEventId):
        parse_event_id(text)


@pytest.mark.parametrize("text", ["", "-1", "1e3", "٣", "1" * 16, "1" * 34 + ".1", " 1", "1\n"])
def test_a_place_is_a_number_of_this_stream(text: str) -> None:
    with pytest.raises(InvalidEventId):
        parse_after(text, STREAM)


lines = st.lists(
    st.sampled_from(
        b"data: a|data|data:b|event: e|id: own|id|retry: 5|: c||identity: x|data: id: 1".split(b"|")
    ),
    max_size=12,
)


@given(lines, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.booleans())
def test_a_numbered_event_is_dispatched_as_before_under_its_number(
    lines: list[bytes], end: bytes, bom: bool
) -> None:
    stream = (b"\xef\xbb\xbf" if bom else b"") + end.join([*lines, b"", b""])
    splitter = EventSplitter()
    kept: list[bytes] = []
    for event in splitter.feed(stream):
        told = numbered(event, b"%s.%d" % (STREAM.encode(), len(kept) + 1))
        if told is not None:
            assert not told.endswith(b"\n\n\n")
            kept.append(told)
    ours, theirs = read(b"".join(kept)).messages, read(stream).messages
    assert [(m.type, m.data) for m in ours] == [(m.type, m.data) for m in theirs]
    for number, told in enumerate(kept, 1):
        assert read(told).last_event_id == f"{STREAM}.{number}"


pieces = st.lists(
    st.sampled_from(
        [
            b"data: a\n\n",
            b"data: a\ndata: b\n\n",
            b"event: e\ndata: x\n\n",
            b"id: own\ndata: c\n\n",
            b"data: d\nid\n\n",
            b": c\n\n",
            b": c\ndata: e\n\n",
            b"\n",
            b"data: f\r\n\r\n",
            b"data: g",
            b"\n\n",
            b"identity: x\n\n",
            b" x\n\n",
        ]
    ),
    max_size=6,
).map(b"".join)


@given(st.lists(st.sampled_from([b"\xef", b"\xbb\xbf", b"\xef\xbb\xbf"]) | pieces, max_size=4))
def test_plain_events_are_numbered_as_each_of_them_would_be(reads: list[bytes]) -> None:
    splitter, other, prefix = EventSplitter(), EventSplitter(), b"%b." % STREAM.encode()
    kept: list[bytes] = []
    each: list[bytes] = []
    for data in reads:
        plain = splitter.plain(data)
        if plain:
            kept += numbered_events(plain, prefix, len(kept) + 1)
        elif plain is None:
            _number(splitter.feed(data), prefix, kept)
        _number(other.feed(data), prefix, each)
        assert kept == each
    assert splitter.flush() == other.flush()


def _number(events: list[Event], prefix: bytes, kept: list[bytes]) -> None:
    for event in events:
        told = numbered(event, b"%b%d" % (prefix, len(kept) + 1))
        if told is not None:
            kept.append(told)


def test_events_of_the_first_read_are_plain() -> None:
    data = b"data: a\n\ndata: b\ndata: c\n\n"
    assert EventSplitter().plain(data) == data
    expected = [b"id: 1.7\ndata: a\n\n", b"id: 1.8\ndata: b\ndata: c\n\n"]
    assert numbered_events(data, b"1.", 7) == expected
