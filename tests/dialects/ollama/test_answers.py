"""Answers in Ollama's dialect, of chat and of generate."""

from __future__ import annotations

import json

from gateway.dialects.ollama.answers import OllamaStreamWriter, Shape, chat, generate, read, write
from gateway.dialects.translation.pieces import (
    ArgumentsDelta,
    CompleteAnswer,
    ContentEnd,
    MessageEnd,
    MessageStart,
    Piece,
    ReasoningDelta,
    Stop,
    TextDelta,
    ToolCallStart,
    UsageUpdate,
    whole,
)
from gateway.usage import Usage
from tests.dialects.translation.wire import CONTEXT

PIECES: list[Piece] = [
    MessageStart("m"),
    ReasoningDelta("Hm."),
    TextDelta("Yes."),
    UsageUpdate(Usage(3, 2)),
    ContentEnd(Stop.END),
    MessageEnd(),
]


def lines(shape: Shape) -> list[dict[str, object]]:
    """What a stream of this shape says, line by line."""
    writer = OllamaStreamWriter(CONTEXT, shape)
    return [json.loads(line) for line in map(writer.write, PIECES) if line]


def test_generate_has_its_text_at_the_top_and_chat_in_a_message() -> None:
    for document in (json.loads(write(whole(PIECES), CONTEXT, generate)), lines(generate)[0]):
        assert document["thinking"] == "Hm."
        assert "message" not in document
    assert [line["response"] for line in lines(generate)] == ["", "Yes.", ""]
    assert [line["message"] for line in lines(chat)] == [
        {"role": "assistant", "content": "", "thinking": "Hm."},
        {"role": "assistant", "content": "Yes."},
        {"role": "assistant", "content": ""},
    ]


def test_only_the_last_line_is_done_and_has_the_counts() -> None:
    *before, last = lines(chat)
    assert [line["done"] for line in before] == [False, False]
    assert (last["done"], last["done_reason"]) == (True, "stop")
    assert (last["prompt_eval_count"], last["eval_count"]) == (3, 2)


def test_a_call_is_written_once_its_arguments_are_complete() -> None:
    writer = OllamaStreamWriter(CONTEXT, chat)
    for piece in (
        MessageStart("m"),
        ToolCallStart(0, "c", "f"),
        ArgumentsDelta(0, '{"a"'),
        ArgumentsDelta(0, ":1}"),
    ):
        assert writer.write(piece) == b""
    said = json.loads(writer.write(ContentEnd(Stop.TOOLS)))
    function = {"name": "f", "arguments": {"a": 1}}
    assert said["message"]["tool_calls"] == [{"id": "c", "function": function}]


def test_what_is_written_for_generate_is_read() -> None:
    answer = whole(read(json.loads(write(CompleteAnswer("m", "Yes."), CONTEXT, generate))))
    assert (answer.text, answer.model) == ("Yes.", "m")
