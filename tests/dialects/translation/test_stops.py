"""Reasons to stop: known, foreign, missing, and those that contradict the answer."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.translation.pieces import (
    ContentEnd,
    Skip,
    Stop,
    whole,
)
from gateway.errors import UpstreamInvalidResponse
from tests.dialects.translation.events import BEGIN, DONE, call_chunk, chunk, said
from tests.dialects.translation.wire import (
    NAMES,
    SIDES,
    heard,
    pieces_of,
    told,
)


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call"])
@pytest.mark.parametrize("sequence", [None, "</tool_call>", 151658])
def test_an_answer_with_calls_stopped_for_them(finish: str, sequence: Any) -> None:
    stream = call_chunk(index=0, id="c", function={"name": "f", "arguments": "{}"})
    stream += chunk({}, finish, stop_reason=sequence) + b"data: [DONE]\n\n"
    pieces = pieces_of("openai", [stream])
    assert whole(pieces).stopped == ContentEnd(Stop.TOOLS)
    assert b'"stop_reason":"tool_use","stop_sequence":null' in told("anthropic", pieces)


def test_calls_are_no_reason_to_stop_where_there_are_none() -> None:
    stream = chunk({"content": "Hi"}) + DONE
    assert whole(pieces_of("openai", [stream])).stopped == ContentEnd(Stop.END)


def test_a_sequence_that_was_met_is_told() -> None:
    stream = chunk({"content": "Hi"}) + chunk({}, "stop", stop_reason="END") + b"data: [DONE]\n\n"
    assert whole(pieces_of("openai", [stream])).stopped == ContentEnd(Stop.SEQUENCE, "END")


@pytest.mark.parametrize("word", ["eos", "end_turn", "STOP", "<|im_end|>", "max_output_tokens"])
@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_reason_to_stop_ends_a_complete_answer(name: str, word: str) -> None:
    documents: dict[str, dict[str, Any]] = {
        "openai": {"choices": [{"message": {"content": "Hi"}, "finish_reason": word}]},
        "anthropic": {"content": [{"type": "text", "text": "Hi"}], "stop_reason": word},
        "ollama": {"message": {"content": "Hi"}, "done": True, "done_reason": word},
    }
    answer = whole(SIDES[name].read_answer(documents[name]))
    assert (answer.text, answer.stopped) == ("Hi", ContentEnd(Stop.END))
    assert answer.skipped == ([] if word == "end_turn" and name == "anthropic" else [Skip.STOP])


@pytest.mark.parametrize(
    ("words", "stop"),
    [
        (["stop", "stop", "stop"], Stop.END),
        (["stop", "stop", "length"], Stop.LENGTH),
        (["length", None, "stop"], Stop.LENGTH),
        (["eos", "length", "stop"], Stop.LENGTH),
        (["stop", "eos", None], Stop.END),
        (["stop", None, "error"], Stop.END),
        (["stop", "content_filter", "stop"], Stop.REFUSED),
    ],
)
@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b""])
def test_an_answer_goes_on_behind_a_reason_to_stop(
    words: list[str | None], stop: Stop, end: bytes
) -> None:
    stream = b"".join(chunk({"content": str(n)}, word) for n, word in enumerate(words))
    assert said(heard("openai", stream + end)) == ("", "012", [], stop)


def test_an_answer_of_nothing_with_a_foreign_reason_has_failed() -> None:
    choice = {"message": {"content": ""}, "finish_reason": "RECITATION"}
    with pytest.raises(UpstreamInvalidResponse):
        whole(SIDES["openai"].read_answer({"choices": [choice]}))


def test_a_stream_that_is_done_is_complete_though_it_gave_no_reason() -> None:
    stream = chunk({"content": "Hi"}) + b"data: [DONE]\n\n"
    assert said(heard("openai", stream)) == ("", "Hi", [], Stop.END)
    text = b'data: {"type":"content_block_start","content_block":{"type":"text","text":"Hi"}}\n\n'
    stop = b'data: {"type":"message_stop"}\n\n'
    assert said(heard("anthropic", BEGIN + text + stop)) == ("", "Hi", [], Stop.END)


@pytest.mark.parametrize("word", [None, ""])
def test_so_is_a_whole_answer(word: str | None) -> None:
    choice = {"message": {"content": "Hi"}, "finish_reason": word}
    answer = whole(SIDES["openai"].read_answer({"choices": [choice]}))
    assert said(answer) == ("", "Hi", [], Stop.END)
    message = {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": word}
    assert said(whole(SIDES["anthropic"].read_answer(message))) == ("", "Hi", [], Stop.END)
    with pytest.raises(UpstreamInvalidResponse):
        whole(SIDES["openai"].read_answer({"choices": [{"message": {"content": ""}}]}))
