"""Prompts and answers out of bodies: what is found, masked and cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.masking import Redaction
from gateway.telemetry.traces.content import ANSWER_CAP_BYTES, Content, messages

OFF = str  # a redaction that leaves everything


def found(prompt: Any = "", answer: str = "", cap: int = 1000) -> tuple[Any, Any]:
    """Input and output, as (role, text)."""
    text = prompt if isinstance(prompt, str) else json.dumps(prompt)
    shaped = messages(text, answer, OFF, cap)
    return tuple(
        [(one["role"], one["parts"][0]["content"]) for one in json.loads(shaped[name])]
        for name in ("input", "output")
    )  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}]}, [("user", "Hi")]),
        (
            {
                "system": "Be kind.",
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]},
                    {"role": "assistant", "content": "b"},
                ],
            },
            [("system", "Be kind."), ("user", "a"), ("assistant", "b")],
        ),
        ({"prompt": "Once"}, [("user", "Once")]),
        ({"input": ["a", "b"]}, [("user", "a"), ("user", "b")]),
        ({"instructions": "x", "input": "y"}, [("system", "x"), ("user", "y")]),
        ("no JSON", [("user", "no JSON")]),
        ({"n": 1}, []),
        ("", []),
    ],
)
def test_a_prompt_is_found_in_every_dialect(body: Any, expected: list[tuple[str, str]]) -> None:
    assert found(body)[0] == expected


def sse(*documents: dict[str, Any]) -> str:
    return "".join(f"event: x\ndata: {json.dumps(one)}\n\n" for one in documents)


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"choices": [{"message": {"role": "assistant", "content": "Hello you"}}]}),
        sse(
            {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
            {"choices": [{"delta": {"content": "Hello "}}]},
            {"choices": [{"delta": {"content": "you"}}]},
            {"choices": [], "usage": {"prompt_tokens": 1}},
        )
        + "data: [DONE]\n\n",
        json.dumps({"type": "message", "content": [{"type": "text", "text": "Hello you"}]}),
        sse(
            {"type": "message_start", "message": {"content": []}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello "}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "you"}},
            {"type": "message_stop"},
        ),
        json.dumps({"message": {"content": "Hello you"}, "done": True}),
        '{"message":{"content":"Hello "}}\n{"message":{"content":"you"},"done":true}\n',
        '{"response":"Hello "}\n{"response":"you","done":true}\n',
        json.dumps({"choices": [{"text": "Hello you"}]}),
        sse({"type": "response.output_text.delta", "delta": "Hello you"}),
    ],
)
def test_an_answer_is_put_together_in_every_dialect(answer: str) -> None:
    assert found(answer=answer)[1] == [("assistant", "Hello you")]


def test_it_is_masked_before_it_is_cut() -> None:
    body = json.dumps({"prompt": "mail ann@example.com " + "x" * 100})
    shaped = messages(body, "", Redaction(), 12)
    assert json.loads(shaped["input"])[0]["parts"] == [
        {"type": "text", "content": "mail *** xxx", "truncated": True}
    ]


def test_all_messages_together_are_under_the_cap() -> None:
    many = {"messages": [{"role": "user", "content": "é" * 10} for _ in range(100)]}
    said = found(many, cap=50)[0]
    assert sum(len(text.encode()) for _, text in said) <= 50
    assert len(said) == 3


@given(st.text(), st.text(), st.integers(1, 100))
def test_no_body_breaks_it(prompt: str, answer: str, cap: int) -> None:
    for text in messages(prompt, answer, Redaction(), cap).values():
        for message in json.loads(text):
            assert len(message["parts"][0]["content"].encode()) <= cap


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["choices", "delta", "message", "content", "text", "type"]),
                inner,
            )
        ),
    )
)
def test_no_document_breaks_it(document: Any) -> None:
    text = json.dumps(document)
    assert set(messages(text, text, OFF, 100)) == {"input", "output"}


def test_what_is_held_of_an_answer_is_bounded() -> None:
    content = Content()
    for _ in range(100):
        content.feed(b"x" * 65536)
    assert len(content.answer) == ANSWER_CAP_BYTES
