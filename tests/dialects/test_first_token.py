"""The first token of a stream, whatever the dialect and however its bytes are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.first_token import FirstToken


def event(document: Any, kind: str = "") -> bytes:
    head = f"event: {kind}\n" if kind else ""
    return f"{head}data: {json.dumps(document)}\n\n".encode()


def delta(**members: Any) -> bytes:
    return event({"id": "c-1", "choices": [{"index": 0, "delta": members}]})


def typed(kind: str, **members: Any) -> bytes:
    return event({"type": kind, **members}, kind)


BEFORE: dict[str, list[bytes]] = {
    "chat": [
        b": queued position=1\n\n",
        event({"choices": [], "prompt_filter_results": []}),
        delta(role="assistant", content=""),
        delta(role="assistant", content=None, tool_calls=None, reasoning_content=""),
        delta(),
        event({"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]}),
        event({"choices": [], "usage": {"completion_tokens": 1}}),
        delta(content=[{"type": "text", "text": ""}, {"type": "thinking", "thinking": []}]),
        delta(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": ""}]),
        delta(tool_calls=[{"index": 1, "type": "function", "function": {"arguments": ""}}]),
        event({"error": {"message": "out of memory"}}),
        b"data: \n\n",
        b"data: [DONE]\n\n",
    ],
    "anthropic": [
        typed("message_start", message={"role": "assistant", "content": []}),
        typed("ping"),
        event({}, "ping"),
        typed("content_block_start", content_block={"type": "text", "text": ""}),
        typed("content_block_start", content_block={"type": "thinking", "thinking": ""}),
        typed("content_block_delta", delta={"type": "text_delta", "text": ""}),
        typed("message_delta", delta={"stop_reason": "end_turn"}),
        typed("error", error={"type": "overloaded_error"}),
    ],
    "responses": [
        typed("response.created", response={"instructions": "x" * 100_000}),
        typed("response.in_progress", response={}),
        typed("response.output_item.added", item={"type": "message", "content": []}),
        typed("response.content_part.added", part={"type": "output_text", "text": ""}),
        typed("response.reasoning_summary_part.added", part={"type": "summary_text"}),
        typed("response.output_text.delta", delta=""),
    ],
}
TOKENS: dict[str, bytes] = {
    "content": delta(content="a"),
    "reasoning_content": delta(role="assistant", content="", reasoning_content="hm"),
    "reasoning": delta(reasoning="hm"),
    "parts": delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
    "deep parts": delta(content=[[[[[[{"text": "a"}]]]]]]),
    "id of a call": delta(tool_calls=[{"index": 0, "id": "c"}]),
    "tool call": delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}]),
    "refusal": delta(refusal="no"),
    "completions": event({"choices": [{"text": "a"}]}),
    "whole message": event({"choices": [{"message": {"content": "a"}}]}),
    "text_delta": typed("content_block_delta", delta={"type": "text_delta", "text": "a"}),
    "thinking_delta": typed("content_block_delta", delta={"type": "t", "thinking": "a"}),
    "tool_use": typed("content_block_start", content_block={"type": "tool_use", "name": "f"}),
    "output_text": typed("response.output_text.delta", delta="a"),
    "function_call": typed("response.output_item.added", item={"type": "function_call"}),
    "completed": typed("response.completed", response={"output": []}),
    "another shape": event({"token": {"text": "a"}}),
    "plain text": b"data: hello\n\n",
    "large": delta(content="a" * 100_000),
}


@pytest.mark.parametrize("dialect", BEFORE)
@pytest.mark.parametrize("token", TOKENS)
def test_the_first_token_is_the_first_event_with_content_reasoning_or_a_tool_call(
    dialect: str, token: str
) -> None:
    first = FirstToken(False)
    assert [first.feed(one) for one in BEFORE[dialect]] == [False] * len(BEFORE[dialect])
    assert first.feed(TOKENS[token])


def compact(raw: bytes) -> bytes:
    """Return an event without white space between the members of its document."""
    return raw.replace(b'": ', b'":').replace(b', "', b',"')


@pytest.mark.parametrize(
    "raw", [*(e for events in BEFORE.values() for e in events), *TOKENS.values()]
)
def test_an_event_without_white_space_is_judged_alike(raw: bytes) -> None:
    assert FirstToken(False).feed(compact(raw)) == FirstToken(lines=False).feed(raw)


def test_a_quoted_token_is_none() -> None:
    quoted = json.dumps(compact(delta(content="x")).decode())
    raw = compact(event({"choices": [{"delta": {"role": quoted, "content": ""}}]}))
    assert not FirstToken(False).feed(raw)


def test_the_first_token_of_lines_is_the_first_with_content() -> None:
    first = FirstToken(True)
    for message in ({"content": ""}, {"role": "assistant", "content": "", "thinking": ""}):
        assert not first.feed(json.dumps({"message": message, "done": False}).encode() + b"\n")
    assert not first.feed(b'{"response":"","done":false}\n')
    assert first.feed(
        b'{"message":{"content":"","tool_calls":[{"function":{"name":"f"}}]},"done":false}\n'
    )
    assert FirstToken(True).feed(b'{"response":"a","done":false}\n')
    assert FirstToken(True).feed(b'{"message":{"thinking":"a"}}\n')


@given(st.lists(st.integers(1, 400), max_size=6), st.sampled_from(sorted(TOKENS)))
def test_the_first_token_is_found_however_the_stream_is_cut(cuts: list[int], token: str) -> None:
    before = b"".join(BEFORE["chat"] + BEFORE["anthropic"])
    stream = before + TOKENS[token] + delta(content="more")
    first, at, fed = FirstToken(False), 0, 0
    for size in [*cuts, len(before) + len(TOKENS[token]), len(stream)]:
        fed, at = at, at + size
        if first.feed(stream[fed:at]):
            break
    assert at >= len(before) + len(TOKENS[token]) > fed


def test_an_unfinished_event_of_a_stream_that_broke_off_does_not_spoil_the_next() -> None:
    first = FirstToken(False)
    assert not first.feed(b'data: {"choices": [{"del')
    first.restart()
    assert first.feed(TOKENS["content"])


@pytest.mark.parametrize(
    "before",
    [b"\xef\xbb\xbf", b": comment\n", b"\n", b"id: 1\n", b"data: [\n", b"event: x\nid: 1\n"],
)
def test_a_token_is_found_in_an_event_of_any_form(before: bytes) -> None:
    first = FirstToken(False)
    assert not first.feed(before)
    assert first.feed(TOKENS["content"])


def test_a_token_is_found_among_several_events_at_once() -> None:
    before = b"".join(BEFORE["chat"][1:6] + BEFORE["anthropic"])
    assert not FirstToken(False).feed(before)
    assert FirstToken(False).feed(before + TOKENS["content"] + b"data: [DONE]\n\n")
