"""The arguments of each call are told in one piece of the stream."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.translation.in_turn import InTurn
from gateway.dialects.translation.pieces import (
    ArgumentsDelta,
    ContentEnd,
    MessageEnd,
    MessageStart,
    Piece,
    Stop,
    TextDelta,
    ToolCallStart,
    UsageUpdate,
    whole,
)
from gateway.errors import UpstreamInvalidResponse
from gateway.usage import Usage
from tests.dialects.translation.events import said
from tests.dialects.translation.wire import (
    NAMES,
    heard,
    told,
)

SLOW = [HealthCheck.too_slow]  # a busy machine is no fault of a test's


@st.composite
def interleaved(draw: st.DrawFn) -> list[Piece]:
    """Calls whose arguments come in turns, with text between them."""
    texts = [
        f'{{"a":"{"x" * draw(st.integers(0, 6))}{n}"}}' for n in range(draw(st.integers(1, 4)))
    ]
    left = {number: list(text) for number, text in enumerate(texts)}
    pieces: list[Piece] = [MessageStart("m")]
    begun: set[int] = set()
    while left or len(begun) < len(texts):
        number = draw(st.sampled_from(sorted(left)))
        if number not in begun:
            if number != len(begun):
                continue
            begun.add(number)
            pieces.append(ToolCallStart(number, f"id{number}", f"f{number}"))
        if draw(st.integers(0, 9)) == 0:
            pieces.append(TextDelta("t"))
        taken = draw(st.integers(1, len(left[number])))
        part, left[number] = left[number][:taken], left[number][taken:]
        pieces.append(ArgumentsDelta(number, "".join(part)))
        if not left[number]:
            del left[number]
    return [*pieces, UsageUpdate(Usage(1, 1)), ContentEnd(Stop.TOOLS), MessageEnd()]


@given(pieces=interleaved())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_calls_in_turns_say_the_same_in_every_dialect(pieces: list[Piece]) -> None:
    meant = said(whole(pieces))
    for caller in NAMES:
        assert said(heard(caller, told(caller, pieces))) == meant


def test_the_first_of_two_calls_passes_as_it_comes() -> None:
    order = InTurn()
    first, second = ToolCallStart(0, "a", "f"), ToolCallStart(1, "b", "g")
    assert list(order.feed(first)) == [first]
    assert list(order.feed(ArgumentsDelta(0, '{"a":'))) == [ArgumentsDelta(0, '{"a":')]
    assert list(order.feed(second)) == []
    assert list(order.feed(ArgumentsDelta(0, "1}"))) == [ArgumentsDelta(0, "1}")]
    assert list(order.feed(ArgumentsDelta(1, "{}"))) == []
    assert list(order.feed(ContentEnd(Stop.TOOLS))) == [
        second,
        ArgumentsDelta(1, "{}"),
        ContentEnd(Stop.TOOLS),
    ]


def test_arguments_behind_a_call_that_was_whole_cannot_be_told_in_blocks() -> None:
    late: list[Piece] = [
        MessageStart("m"),
        ToolCallStart(0, "a", "f"),
        ArgumentsDelta(0, "{}"),
        TextDelta("x"),
        ArgumentsDelta(0, "1"),
    ]
    with pytest.raises(UpstreamInvalidResponse):
        told("anthropic", [*late, ContentEnd(Stop.TOOLS), MessageEnd()])
