"""White space between a prefill and what goes on with it."""

from __future__ import annotations

import pytest

from gateway.dialects.translation.conversation import Conversation, Message, Role, Text
from gateway.dialects.translation.pieces import MessageStart, Piece, TextDelta
from gateway.dialects.translation.prefill import TrimmedReader, ends_in_space, without_space


@pytest.mark.parametrize(
    ("role", "text", "expected"),
    [
        (Role.ASSISTANT, "Well ", True),
        (Role.ASSISTANT, "Well\n", True),
        (Role.ASSISTANT, "Well", False),
        (Role.USER, "Well ", False),
    ],
)
def test_only_a_prefill_can_end_in_space(role: Role, text: str, expected: bool) -> None:
    assert ends_in_space(Conversation("m", [Message(role, [Text(text)])])) is expected
    assert not ends_in_space(Conversation("m", []))


def test_only_what_stands_before_the_first_text_is_taken_off() -> None:
    pieces: list[Piece] = [MessageStart("m"), TextDelta(" \n"), TextDelta(" a "), TextDelta(" b")]
    assert without_space(pieces) == ([MessageStart("m"), TextDelta("a "), TextDelta(" b")], True)
    assert without_space(pieces[:2]) == ([MessageStart("m")], False)


def test_the_first_text_may_come_later() -> None:
    class Reader:
        def feed(self, data: bytes) -> list[Piece]:
            return [TextDelta(data.decode())]

        def flush(self) -> list[Piece]:
            return [TextDelta(" end")]

    reader = TrimmedReader(Reader())
    said = [*reader.feed(b" "), *reader.feed(b" a"), *reader.feed(b" b"), *reader.flush()]
    assert said == [TextDelta("a"), TextDelta(" b"), TextDelta(" end")]
