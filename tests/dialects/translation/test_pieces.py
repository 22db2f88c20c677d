"""Pieces of a stream that make up a whole answer."""

from __future__ import annotations

from gateway.dialects.translation.pieces import (
    ArgumentsDelta,
    ContentEnd,
    MessageFailed,
    ReasoningDelta,
    Stop,
    TextDelta,
    ToolCallStart,
    broken_off,
    whole,
)


def test_texts_thoughts_and_arguments_are_joined() -> None:
    answer = whole(
        [
            ReasoningDelta("t1"),
            ReasoningDelta("t2"),
            TextDelta("a"),
            TextDelta("b"),
            ToolCallStart(0, "id-0", "one"),
            ArgumentsDelta(0, '{"x"'),
            ToolCallStart(1, "id-1", "two"),
            ArgumentsDelta(0, ": 1}"),
            ContentEnd(Stop.TOOLS),
        ]
    )
    assert (answer.text, answer.thinking) == ("ab", "t1t2")
    assert [(one.id, one.name, one.arguments) for one in answer.calls] == [
        ("id-0", "one", '{"x": 1}'),
        ("id-1", "two", ""),
    ]


def test_a_stream_that_was_broken_off_has_failed() -> None:
    assert isinstance(broken_off(), MessageFailed)
