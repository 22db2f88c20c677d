"""Pieces of a stream that make up a whole answer."""

from __future__ import annotations

from gateway.dialects.translation.pieces import (
    Argued,
    Called,
    Failed,
    Said,
    Stop,
    Stopped,
    Thought,
    broken_off,
    whole,
)


def test_texts_thoughts_and_arguments_are_joined() -> None:
    answer = whole(
        [
            Thought("t1"),
            Thought("t2"),
            Said("a"),
            Said("b"),
            Called(0, "id-0", "one"),
            Argued(0, '{"x"'),
            Called(1, "id-1", "two"),
            Argued(0, ": 1}"),
            Stopped(Stop.TOOLS),
        ]
    )
    assert (answer.text, answer.thinking) == ("ab", "t1t2")
    assert [(one.id, one.name, one.arguments) for one in answer.calls] == [
        ("id-0", "one", '{"x": 1}'),
        ("id-1", "two", ""),
    ]


def test_a_stream_that_was_broken_off_has_failed() -> None:
    assert isinstance(broken_off(), Failed)
