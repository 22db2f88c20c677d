"""The cost is added to the last usage of a stream, and every other byte passes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.json_lines import Lines
from gateway.dialects.usage_chunk import UsageFilter
from gateway.dialects.usage_cost import UsageCost
from gateway.sse import EventSplitter
from gateway.usage import Usage

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def cost(usage: Usage) -> float:
    return usage.input * 0.1 + usage.output


def event(document: Any, kind: str = "") -> bytes:
    head = f"event: {kind}\n" if kind else ""
    return f"{head}data: {json.dumps(document)}\n\n".encode()


def chunk(**fields: Any) -> bytes:
    return event({"id": "c", "choices": [{"delta": {"content": "a"}}], **fields})


DONE = b"data: [DONE]\n\n"
OPENAI = (
    chunk(usage=None),
    chunk(usage=None, choices=[{"delta": {}, "finish_reason": "stop"}]),
    event({"id": "c", "choices": [], "usage": USAGE}),
    DONE,
)
ANTHROPIC = (
    event({"type": "message_start", "message": {"usage": {"input_tokens": 10}}}, "message_start"),
    event({"type": "content_block_delta", "delta": {"text": '"usage":{'}}),
    event({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5}}, "message_delta"),
    event({"type": "message_stop"}, "message_stop"),
)
RESPONSES = (
    event({"type": "response.created", "response": {"usage": None}}),
    event(
        {
            "type": "response.completed",
            "response": {"id": "r", "usage": {"input_tokens": 10, "output_tokens": 5}},
        }
    ),
)
OLLAMA = (
    b'{"message":{"content":"a"},"done":false}\n',
    b'{"done":true, "prompt_eval_count":10,"eval_count":5}\n',
)


def reported(stream: tuple[bytes, ...] | list[bytes], *, lines: bool = False, **more: Any) -> bytes:
    one = UsageCost(cost, Lines() if lines else EventSplitter(), **more)
    return b"".join([*(one.feed(piece) for piece in stream), one.flush()])


@pytest.mark.parametrize(
    ("stream", "at", "before", "after"),
    [
        (OPENAI, 2, b'"usage": {', b'"usage": {"cost":6.0,'),
        (ANTHROPIC, 2, b'"usage": {', b'"usage": {"cost":6.0,'),
        (RESPONSES, 1, b'"usage": {', b'"usage": {"cost":6.0,'),
        (OLLAMA, 1, b'{"done"', b'{"cost":6.0,"done"'),
    ],
    ids=["openai", "anthropic", "responses", "ollama"],
)
def test_the_last_usage_has_the_cost_and_no_other_byte_changes(
    stream: tuple[bytes, ...], at: int, before: bytes, after: bytes
) -> None:
    then = list(stream)
    assert before in then[at]
    then[at] = then[at].replace(before, after)
    assert reported(stream, lines=stream is OLLAMA) == b"".join(then)


def test_usage_in_the_last_chunk_with_a_choice_has_the_cost() -> None:
    last = chunk(usage=USAGE, choices=[{"delta": {}, "finish_reason": "stop"}])
    running = chunk(usage=USAGE)
    said = reported((running, last, DONE))
    assert said.startswith(running)
    assert said.count(b'"cost":6.0') == 1


def test_a_cost_of_the_backend_is_replaced() -> None:
    last = event({"choices": [], "usage": {**USAGE, "cost": 99}})
    assert json.loads(reported((last,))[6:])["usage"] == {**USAGE, "cost": 6.0}


def test_a_chunk_that_the_caller_did_not_ask_for_is_removed() -> None:
    assert reported(OPENAI, before=UsageFilter()) == b"".join((*OPENAI[:2], DONE))


def test_a_stream_without_usage_passes_unchanged() -> None:
    stream = (chunk(), chunk(content='"usage": {}'), DONE, b"data: half")
    assert reported(stream) == b"".join(stream)


@given(
    st.sampled_from([OPENAI, ANTHROPIC, RESPONSES, OLLAMA]),
    st.lists(st.integers(0, 600), max_size=6),
)
def test_however_the_bytes_are_split_the_stream_is_the_same(
    stream: tuple[bytes, ...], cuts: list[int]
) -> None:
    whole = b"".join(stream)
    edges = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    pieces = [whole[start:end] for start, end in pairwise(edges)]
    lines = stream is OLLAMA
    assert reported(pieces, lines=lines) == reported(stream, lines=lines)
