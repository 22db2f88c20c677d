"""Answers in Anthropic's dialect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.dialects.anthropic import answers as anthropic_answers
from gateway.dialects.translation.pieces import (
    ContentEnd,
    MessageEnd,
    MessageStart,
    Piece,
    Skip,
    Stop,
    TextDelta,
    whole,
)
from gateway.usage import Usage
from tests.dialects.translation.wire import CONTEXT, SIDES, heard


def message(*usages: dict[str, Any] | None) -> bytes:
    """Anthropic's stream with these usages in message_start and in each message_delta."""
    start, *deltas = usages
    events = [
        {"type": "message_start", "message": {"model": "m", "usage": start}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": "Hi"},
        },
        *({"type": "message_delta", "delta": {}, "usage": usage} for usage in deltas),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)


@pytest.mark.parametrize("end", [{}, {"input_tokens": 0}, {"input_tokens": None}])
def test_a_zero_at_the_end_does_not_replace_the_input_at_the_start(end: dict[str, Any]) -> None:
    stream = message({"input_tokens": 9, "output_tokens": 1}, {"output_tokens": 5, **end})
    assert heard("anthropic", stream).tokens == Usage(9, 5)


def test_the_beginning_of_a_message_does_not_count_as_its_usage() -> None:
    stream = message({"input_tokens": 9, "output_tokens": 1}, None)
    assert heard("anthropic", stream).tokens is None


def test_clients_keep_the_estimate_where_the_backend_reports_no_usage() -> None:
    context = replace(CONTEXT, input_estimate=9)
    writer = anthropic_answers.AnthropicStreamWriter(context)
    pieces: list[Piece] = [MessageStart("m"), TextDelta("Hi"), ContentEnd(Stop.END), MessageEnd()]
    said = b"".join(map(writer.write, pieces))
    assert b'"usage":{"input_tokens":9,"output_tokens":0}' in said
    assert b'"usage":{"output_tokens":0}' in said


def test_an_unknown_block_is_left_out_and_counted() -> None:
    blocks = [{"type": "server_tool_use", "id": "s"}, {"type": "text", "text": "Yes."}]
    answer = whole(SIDES["anthropic"].read_answer({"content": blocks, "stop_reason": "end_turn"}))
    assert (answer.text, answer.skipped) == ("Yes.", [Skip.PART])
