"""Answers in the shapes that backends really send: fixtures of streams, and single values."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.translation.pieces import (
    MessageEnd,
    MessageFailed,
    Skip,
    whole,
)
from gateway.errors import UpstreamInvalidResponse
from tests.dialects.translation.events import said, skips
from tests.dialects.translation.wire import (
    CONTEXT,
    FIXTURES,
    NAMES,
    SHAPES,
    SIDES,
    heard,
    pieces_of,
    stream_of,
    told,
)

SLOW = [HealthCheck.too_slow]  # a busy machine is no fault of a test's


def test_every_fixture_of_a_shape_is_tried() -> None:
    found = {f"{path.parent.name}/{path.name}" for path in FIXTURES.glob("*/*")}
    assert found == set(SHAPES)


@pytest.mark.parametrize("file", SHAPES)
def test_a_shape_that_backends_send_is_read(file: str) -> None:
    name = file.partition("/")[0]
    assert said(heard(name, (FIXTURES / file).read_bytes())) == SHAPES[file]


@pytest.mark.parametrize("file", SHAPES)
def test_where_a_shape_is_cut_makes_no_difference(file: str) -> None:
    name = file.partition("/")[0]
    stream = (FIXTURES / file).read_bytes()
    expected = pieces_of(name, [stream])
    for at in range(len(stream)):
        assert pieces_of(name, [stream[:at], stream[at:]]) == expected
    assert pieces_of(name, [stream[at : at + 1] for at in range(len(stream))]) == expected


@pytest.mark.parametrize("file", SHAPES)
@pytest.mark.parametrize("caller", NAMES)
def test_a_shape_says_the_same_in_every_dialect(file: str, caller: str) -> None:
    name = file.partition("/")[0]
    pieces = pieces_of(name, [(FIXTURES / file).read_bytes()])
    assert said(heard(caller, told(caller, pieces))) == SHAPES[file]
    answer = orjson.loads(SIDES[caller].write_answer(whole(pieces), CONTEXT))
    assert said(whole(SIDES[caller].read_answer(answer))) == SHAPES[file]


# -- keep-alives and odd endings -------------------------------------------------------------------

ODD: dict[str, list[tuple[bytes, list[Skip]]]] = {
    "openai": [
        (b"data:\n\n", []),
        (b"data: \n\n", []),
        (b": comment\n\n", []),
        (b"event: ping\ndata: {}\n\n", []),
        (b"event: ping\ndata: null\n\n", [Skip.EVENT]),
        (b"id: 7\n\n", []),
        (b"data: ping\n\n", [Skip.EVENT]),
        (b"data: <html>\n\n", [Skip.EVENT]),
        (b"data: [1]\n\n", [Skip.EVENT]),
        (b'data: {"object":"trace","x":1}\n\n', [Skip.EVENT]),
        (b'data: {"choices":[],"prompt_filter_results":[]}\n\n', []),
        (b'data: {"choices":null}\n\n', []),
    ],
    "anthropic": [
        (b"data:\n\n", []),
        (b'event: ping\ndata: {"type":"ping"}\n\n', []),
        (b"event: ping\ndata: {}\n\n", []),
        (b"event: x\ndata: oops\n\n", [Skip.EVENT]),
        (b'event: x\ndata: {"type":"x"}\n\n', [Skip.EVENT]),
        (b'data: {"type":["ping"]}\n\n', [Skip.EVENT]),
    ],
    "ollama": [(b"\n", []), (b" \r\n", []), (b"oops\n", [Skip.EVENT]), (b"[1]\n", [Skip.EVENT])],
}


@pytest.mark.parametrize(
    ("name", "odd", "skipped"), [(name, *one) for name, many in ODD.items() for one in many]
)
def test_an_odd_event_does_not_end_a_stream(name: str, odd: bytes, skipped: list[Skip]) -> None:
    end = b"\n" if name == "ollama" else b"\n\n"
    events = [event + end for event in stream_of(name).split(end) if event]
    expected = whole(pieces_of(name, events))
    for at in range(len(events)):
        pieces = pieces_of(name, [*events[:at], odd, *events[at:]])
        answer = whole(pieces)
        assert skips(pieces) == skipped
        answer.skipped = []
        assert answer == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rest", [b"data: {", b"{\n", b"data: [DONE]\n\n", b"\xff\n\n", b"<html>"])
def test_what_follows_the_end_is_not_looked_at(name: str, rest: bytes) -> None:
    stream = stream_of(name)
    assert pieces_of(name, [stream + rest]) == pieces_of(name, [stream])
    assert pieces_of(name, [stream, rest]) == pieces_of(name, [stream])


@pytest.mark.parametrize(
    ("name", "nothing"),
    [
        ("openai", b"data: <html>\n\n"),
        ("openai", b'data: {"type":"response.created"}\n\n'),
        ("anthropic", b"data: oops\n\n"),
        ("anthropic", b"data: [1]\n\n"),
        ("ollama", b"<html>\n"),
    ],
)
def test_a_stream_of_nothing_that_is_known_has_failed(name: str, nothing: bytes) -> None:
    *_, last = pieces_of(name, [nothing * 3])
    assert isinstance(last, MessageFailed)
    assert isinstance(last.error, UpstreamInvalidResponse)


# -- anything at all ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_a_reader_takes_any_bytes(name: str, data: st.DataObject) -> None:
    stream = bytearray(stream_of(name))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(stream)))
        junk = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"\n\n", b"\n", b"}", b'"', b"{"])
        )
        stream[at : at + data.draw(st.integers(0, 9))] = junk
    cut = data.draw(st.integers(0, len(stream)))
    pieces = pieces_of(name, [bytes(stream[:cut]), bytes(stream[cut:])])
    assert repr(pieces) == repr(pieces_of(name, [bytes(stream)]))
    ends = [piece for piece in pieces if isinstance(piece, (MessageEnd, MessageFailed))]
    assert ends == pieces[-1:]


def test_fixtures_are_files_of_their_dialect() -> None:
    assert all(Path(file).suffix in (".sse", ".ndjson") for file in SHAPES)
