"""Counting LLM tokens: before a request, and from its response, however it is cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.usage import Usage, UsageTap, estimate

OPENAI = (
    b'{"id":"x","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}'
)
OPENAI_STREAM = (
    b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}\n\ndata: [DONE]\n\n'
)
ANTHROPIC_STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":'
    b'{"input_tokens":4,"cache_read_input_tokens":3,"output_tokens":1}}}\n\n'
    + b'event: content_block_delta\ndata: {"delta":{"text":"hi"}}\n\n' * 2000
    + b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":5}}\n\n'
)
OLLAMA_STREAM = (
    b'{"message":{"content":"hi"},"done":false}\n'
    b'{"done":true,"prompt_eval_count":7,"eval_count":5}\n'
)
RESPONSES = (
    b'event: response.completed\ndata: {"response":{"usage":{"input_tokens":7,'
    b'"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0}}}}\n\n'
)


@pytest.mark.parametrize(
    "body", [OPENAI, OPENAI_STREAM, ANTHROPIC_STREAM, OLLAMA_STREAM, RESPONSES]
)
@given(data=st.data())
def test_usage_is_found_however_the_body_is_cut(body: bytes, data: st.DataObject) -> None:
    tap = UsageTap()
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    edges = [0, *sorted(cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        tap.feed(body[start:end])
    assert tap.usage() == Usage(7, 5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"choices":[]}',
        b'{"usage":null}',
        b'{"usage":{"prompt_tokens":"7"}}',
        b'{"usage":{"prompt_tokens":-7}}',
        json.dumps({"content": OPENAI.decode()}).encode(),
        b'{"usage":{',
    ],
)
def test_what_is_not_usage_is_none(body: bytes) -> None:
    tap = UsageTap()
    tap.feed(body)
    assert tap.usage() is None


def test_what_broke_off_is_guessed_by_what_was_seen() -> None:
    tap = UsageTap()
    assert tap.guess(Usage(10, 100)) == Usage(0, 0)
    tap.feed(b"data: {}\n\n")
    tap.feed(b"data: {}\n\ndata: {}\n\n")
    assert tap.guess(Usage(10, 100)) == Usage(10, 3)


@pytest.mark.parametrize(
    ("document", "output"),
    [
        ({"messages": [], "max_tokens": 50}, 50),
        ({"messages": [], "max_completion_tokens": 60, "max_tokens": 50}, 50),
        ({"messages": []}, 256),
        ({"messages": [], "max_tokens": 10, "n": 3}, 30),
        ({"messages": [], "max_tokens": True}, 256),
        ({"messages": [], "max_tokens": 2**64 - 1}, 10_000_000),
        ({"messages": [], "options": {"num_predict": 9}}, 9),
        ({"input": ["a", "b"]}, 0),
        ({"input": "a", "stream": True, "max_output_tokens": 8}, 8),
    ],
)
def test_what_an_answer_may_take_is_reserved(document: dict[str, Any], output: int) -> None:
    body = json.dumps(document).encode()
    assert estimate(body) == Usage(len(body) // 4 + 1, output)


@given(st.binary(max_size=200))
def test_any_body_has_an_estimate(body: bytes) -> None:
    assert estimate(body).total >= 0


@pytest.mark.parametrize("spelling", ['"usage":', '"usage": ', '"usage" : '])
@pytest.mark.parametrize("each", ["null", '{"prompt_tokens":7,"completion_tokens":1}'])
def test_usage_that_stands_in_every_event_is_the_last_that_is_told(
    spelling: str, each: str
) -> None:
    tap = UsageTap(1024, 2048)
    for _ in range(300):
        tap.feed(f'data: {{"choices":[{{}}],{spelling}{each}}}\n\n'.encode())
    tap.feed(f'data: {{{spelling}{{"prompt_tokens":7,"completion_tokens":300}}}}\n\n'.encode())
    assert tap.usage() == Usage(7, 300)


def test_usage_is_found_before_a_long_end() -> None:
    tap = UsageTap()
    tap.feed(OPENAI_STREAM + b": padding\n\n" * 1000)
    assert tap.usage() == Usage(7, 5)


def test_an_answer_that_was_cut_within_its_usage_tells_what_came_before() -> None:
    tap = UsageTap()
    tap.feed(ANTHROPIC_STREAM[:-20])
    assert tap.usage() == Usage(7, 1)
