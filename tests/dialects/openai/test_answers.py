"""Answers in OpenAI's dialect."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import orjson
import pytest

from gateway.dialects.translation.pieces import MessageFailed, Skip, Stop, whole
from gateway.usage import Usage
from tests.dialects.translation.events import FACTS, chunk, facts, said, skips
from tests.dialects.translation.wire import heard, pieces_of, stream_of


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    calls = [
        {"index": 0, "id": f"c{n}", "function": {"name": f"f{n}", "arguments": "{}"}}
        for n in range(2)
    ]
    events: list[Any] = [{"choices": [{"delta": {"tool_calls": [call]}}]} for call in calls]
    events.append({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    stream = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    answer = heard("openai", stream + b"data: [DONE]\n\n")
    assert [(call.id, call.name) for call in answer.calls] == [("c0", "f0"), ("c1", "f1")]


def test_an_empty_reason_is_none_yet() -> None:
    stream = stream_of("openai").replace(b'"finish_reason":null', b'"finish_reason":""')
    assert facts(heard("openai", stream)) == FACTS


def test_a_stream_may_end_without_done_once_it_has_said_why_it_stopped() -> None:
    stream = stream_of("openai").replace(b"data: [DONE]\n\n", b"")
    assert facts(heard("openai", stream)) == FACTS


def test_an_unknown_field_that_holds_something_is_counted() -> None:
    stream = chunk({"content": "Yes.", "images": [{"url": "x"}], "audio": None, "x": []}, "stop")
    pieces = pieces_of("openai", [stream + b"data: [DONE]\n\n"])
    assert (whole(pieces).text, skips(pieces)) == ("Yes.", [Skip.FIELD])


def test_a_whole_answer_in_one_event_is_read() -> None:
    choice = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    stream = b"data: %b\n\n" % orjson.dumps({"model": "m", "choices": [choice]})
    assert said(heard("openai", stream)) == ("", "Hi", [], Stop.END)
    assert said(heard("openai", chunk({"content": "Hi"}) + stream)) == ("", "Hi", [], Stop.END)


def test_a_broken_event_behind_a_complete_answer_is_left_out() -> None:
    stream = chunk({"content": "Hi"}, "stop") + b'data: {"usage":{"pro\n\n'
    pieces = pieces_of("openai", [stream])
    assert said(whole(pieces)) == ("", "Hi", [], Stop.END)
    assert skips(pieces) == [Skip.EVENT]


@pytest.mark.parametrize("kind", [b"event: error\n", b"event:error\n"])
def test_an_error_may_be_told_by_the_type_of_its_event(kind: bytes) -> None:
    stream = chunk({"content": "Hi"}) + kind + b'data: {"message":"out of memory"}\n\n'
    *_, last = pieces_of("openai", [stream])
    assert isinstance(last, MessageFailed)
    assert "out of memory" in last.error.message


def test_numbers_that_json_does_not_know_are_read() -> None:
    stream = b'data: {"choices":[{"delta":{"content":"Hi"},"logprobs":[NaN,-Infinity]}]}\n\n'
    assert heard("openai", stream + chunk({}, "stop")).text == "Hi"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 0}, Usage(5, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "total_tokens": 10,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(5, 5, reasoning=3),
        ),
    ],
)
def test_the_caller_is_told_the_usage_that_is_billed(
    usage: dict[str, Any], expected: Usage
) -> None:
    last = b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": usage})
    stream = chunk({"content": "Hi"}) + chunk({}, "stop") + last + b"data: [DONE]\n\n"
    tokens = heard("openai", stream).tokens
    assert tokens is not None
    assert astuple(tokens) == astuple(expected)
