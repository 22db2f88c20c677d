"""Hiding the usage of a stream that only the gateway has asked for."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.usage_chunk import UsageFilter

USAGE = b'data: {"id":"1","choices":[],"usage":{"prompt_tokens":1}}\n\n'
KEPT = [
    b'data: {"choices":[{"delta":{"content":"hi"}}],"usage":null}\n\n',
    b": a comment about usage\r\n\r\n",
    b'data: {"choices":[{"delta":{"content":"\\"usage\\" \\"choices\\":[]"}}]}\n\n',
    b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}\n\n',
    b"data: [DONE]\n\n",
    b"data: cut off",
]


@given(st.lists(st.sampled_from([USAGE, *KEPT[:-1]]), max_size=8), st.booleans(), st.data())
def test_only_the_usage_chunk_is_taken_out_however_the_stream_is_cut(
    events: list[bytes], cut_off: bool, data: st.DataObject
) -> None:
    stream = b"".join(events) + (KEPT[-1] if cut_off else b"")
    edges = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
    edges = [0, *sorted(edges), len(stream)]
    one = UsageFilter()
    passed = b"".join(one.feed(stream[a:b]) for a, b in itertools.pairwise(edges)) + one.flush()
    assert passed == stream.replace(USAGE, b"")


def test_a_line_end_that_is_cut_before_the_usage_chunk_stays_whole() -> None:
    one = UsageFilter()
    kept = b"data: {}\r\n\r\n"
    passed = one.feed(kept[:-1]) + one.feed(kept[-1:] + USAGE) + one.flush()
    assert passed == kept


def test_blank_lines_behind_the_usage_chunk_go_with_it() -> None:
    one = UsageFilter()
    passed = one.feed(KEPT[0] + b"\n" + USAGE + b"\n\n" + USAGE + KEPT[3]) + one.flush()
    assert passed == KEPT[0] + b"\n" + KEPT[3]


def test_a_usage_chunk_of_two_lines_is_taken_out() -> None:
    one = UsageFilter()
    usage = b'data: {"choices":[],\ndata: "usage":{"prompt_tokens":1}}\n\n'
    assert one.feed(KEPT[0] + usage + KEPT[3]) == KEPT[0] + KEPT[3]


def test_a_whole_event_passes_at_once() -> None:
    assert UsageFilter().feed(KEPT[0]) == KEPT[0]


def test_an_event_without_an_end_is_not_held_for_ever() -> None:
    one = UsageFilter()
    assert one.feed(b"x" * 2**20) == b""
    assert len(one.feed(b"y")) == 2**20 + 1


def test_complete_events_without_usage_pass_uncopied() -> None:
    one = UsageFilter()
    one.feed(KEPT[0])
    data = KEPT[0] * 16
    assert one.feed(data) is data
    assert one.feed(data[:-1]) == data[: -len(KEPT[0])]
    assert one.feed(b"\n" + USAGE) == KEPT[0]
