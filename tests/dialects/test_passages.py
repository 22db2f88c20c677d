"""Texts of requests, answers and events are found in every dialect, and written back."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway.dialects.passages import (
    PassageKind,
    TooDeep,
    answer_passages,
    request_passages,
    write_answer,
    write_request,
)

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
TOOLS = [{"type": "function", "function": {"name": "f", "description": "no text"}}]
REQUESTS: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    (
        {
            "model": "m",
            "tools": TOOLS,
            "messages": [
                {"role": "system", "content": "a"},
                {"role": "user", "content": [{"type": "text", "text": "b"}, IMAGE]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "1", "function": {"name": "f", "arguments": '{"x":"c"}'}}
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "d"},
            ],
        },
        [("system", "a"), ("user", "b"), ("assistant", '{"x":"c"}'), ("tool", "d")],
    ),
    (
        {
            "system": [{"type": "text", "text": "a"}],
            "messages": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "b", "signature": "no"},
                        {"type": "tool_use", "id": "1", "name": "f", "input": {"q": {"w": "c"}}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "1",
                            "content": [{"type": "text", "text": "d"}],
                        },
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "e"},
                        },
                    ],
                },
            ],
        },
        [("system", "a"), ("assistant", "b"), ("assistant", "c"), ("user", "d"), ("user", "e")],
    ),
    (
        {
            "instructions": "a",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "b"}]},
                {"type": "function_call_output", "call_id": "1", "output": "c"},
            ],
        },
        [("system", "a"), ("user", "b"), ("user", "c")],
    ),
    ({"input": "a"}, [("user", "a")]),
    ({"input": ["a", "b"]}, [("user", "a"), ("user", "b")]),
    ({"prompt": "a", "suffix": "b"}, [("user", "a"), ("user", "b")]),
    (
        {"query": "a", "documents": ["b", {"text": "c"}]},
        [("user", "a"), ("user", "b"), ("user", "c")],
    ),
    ({"input": [[1, 2], [3]]}, []),
    (
        {
            "systemInstruction": {"parts": [{"text": "a"}]},
            "contents": [{"role": "user", "parts": [{"text": "b"}]}],
        },
        [("system", "a"), ("user", "b")],
    ),
    ({"inputs": "a", "parameters": {"stop": ["b"]}}, [("user", "a")]),
]
ANSWERS: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    (
        {"id": "x", "choices": [{"message": {"role": "assistant", "content": "a"}}]},
        [("text", "a")],
    ),
    ({"choices": [{"delta": {"reasoning_content": "a"}}]}, [("reasoning", "a")]),
    (
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}]},
        [("arguments", "{")],
    ),
    ({"choices": [{"text": "a"}]}, [("text", "a")]),
    (
        {"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"},
        [("text", "a")],
    ),
    (
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a"}},
        [("text", "a")],
    ),
    (
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": "{"},
        },
        [("arguments", "{")],
    ),
    (
        {"type": "response.output_text.delta", "item_id": "i", "delta": "a", "logprobs": []},
        [("text", "a")],
    ),
    ({"type": "response.function_call_arguments.delta", "delta": "{"}, [("arguments", "{")]),
    (
        {
            "type": "response.created",
            "response": {
                "instructions": "the caller's own",
                "reasoning": {"effort": "low", "summary": "auto"},
                "text": {"format": {"type": "text"}, "verbosity": "medium"},
                "output": [],
            },
        },
        [],
    ),
    (
        {"message": {"role": "assistant", "content": "a", "thinking": "b"}, "done": False},
        [
            ("text", "a"),
            ("reasoning", "b"),
        ],
    ),
    ({"response": "a", "done": False, "context": [1, 2]}, [("text", "a")]),
    ({"text": "a transcript"}, [("text", "a transcript")]),
    ({"token": {"id": 1, "text": "a"}, "generated_text": None}, [("text", "a")]),
    ({"candidates": [{"content": {"parts": [{"text": "a"}]}}]}, [("text", "a")]),
    ({"data": [{"embedding": [0.1, 0.2], "index": 0}]}, []),
    ({"object": "list", "data": [{"id": "gpt", "object": "model"}]}, []),
]


@pytest.mark.parametrize(("document", "texts"), REQUESTS)
def test_texts_of_requests_are_found_with_their_roles(
    document: dict[str, Any], texts: list[tuple[str, str]]
) -> None:
    assert [(one.role, one.text) for one in request_passages(document)] == texts


@pytest.mark.parametrize(("document", "texts"), ANSWERS)
def test_texts_of_answers_are_found_with_their_kind(
    document: dict[str, Any], texts: list[tuple[str, str]]
) -> None:
    assert [(one.kind.value, one.text) for one in answer_passages(document)] == texts


@pytest.mark.parametrize("document", [one for one, _ in REQUESTS])
def test_texts_of_requests_are_written_back(document: dict[str, Any]) -> None:
    made = copy.deepcopy(document)
    found = request_passages(made)
    changed = write_request(made, {index: one.text * 2 for index, one in enumerate(found)})
    assert [one.text for one in request_passages(made)] == [one.text * 2 for one in found]
    assert {name for name in document if made[name] != document[name]} == changed


def test_pieces_of_one_text_have_one_key() -> None:
    def keys(document: dict[str, Any]) -> list[object]:
        return [one.key for one in answer_passages(document)]

    first = {"choices": [{"index": 1, "delta": {"content": "a"}}]}
    both = {"choices": [{"index": i, "delta": {"content": "a"}} for i in (0, 1)]}
    assert keys(first) == keys(both)[1:]
    assert len(set(keys(both))) == 2
    block = {"type": "content_block_delta", "delta": {"text": "a"}}
    assert keys({**block, "index": 0}) != keys({**block, "index": 1})
    delta = {"item_id": "i", "output_index": 0, "delta": "a"}
    assert keys({"type": "response.output_text.delta", **delta}) != keys(
        {"type": "response.refusal.delta", **delta}
    )


def test_events_that_repeat_text_are_marked() -> None:
    done = {"type": "response.output_text.done", "text": "a"}
    whole = {"type": "response.completed", "response": {"output": [{"content": [{"text": "a"}]}]}}
    for document in (done, whole):
        assert [one.repeats for one in answer_passages(document)] == [True]


def test_changed_answers_lose_their_token_probabilities() -> None:
    tokens = {"content": [{"token": "se", "logprob": -1}]}
    document: dict[str, Any] = {
        "choices": [{"message": {"content": "secret"}, "logprobs": tokens}],
        "logprobs": [{"token": "se"}],
    }
    assert [one.text for one in answer_passages(document)] == ["secret"]
    assert write_answer(document, {0: "x"}) == {"choices", "logprobs"}
    assert document == {
        "choices": [{"message": {"content": "x"}, "logprobs": None}],
        "logprobs": [],
    }


def test_arguments_that_are_objects_are_texts() -> None:
    call = {"function": {"name": "f", "arguments": {"to": "bob", "n": 3}}}
    (found,) = answer_passages({"message": {"content": "", "tool_calls": [call]}})
    assert (found.kind, found.text) == (PassageKind.ARGUMENTS, "bob")


def test_a_document_that_is_nested_too_deeply_is_refused() -> None:
    nested: Any = {"text": "a"}
    for _ in range(300):
        nested = {"content": nested}
    with pytest.raises(TooDeep):
        request_passages({"messages": [nested]})
