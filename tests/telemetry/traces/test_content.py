"""Prompts and answers out of bodies: what is found, masked and cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.masking import Redaction
from gateway.telemetry.traces.content import ANSWER_CAP_BYTES, RecordedContent, messages
from tests.support.genai_schemas import INPUT_MESSAGES, OUTPUT_MESSAGES, SYSTEM_INSTRUCTIONS

OFF = str  # a redaction that leaves everything


def shaped(prompt: Any = "", answer: Any = "", cap: int = 100_000, **told: Any) -> dict[str, Any]:
    """Input, output and system instructions, which fit the schemas of the conventions."""
    asked, said = (one if isinstance(one, str) else json.dumps(one) for one in (prompt, answer))
    found = {n: json.loads(one) for n, one in messages(asked, said, OFF, cap, **told).items()}
    INPUT_MESSAGES.validate(found["input"])
    OUTPUT_MESSAGES.validate(found["output"])
    SYSTEM_INSTRUCTIONS.validate(found.get("system", []))
    return found


def found(prompt: Any = "", answer: str = "", cap: int = 1000) -> tuple[Any, Any]:
    """Input and output, as (role, text)."""
    made = shaped(prompt, answer, cap)
    return tuple(
        [(one["role"], "".join(part["content"] for part in one["parts"])) for one in made[name]]
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
            [("user", "a"), ("assistant", "b")],
        ),
        ({"prompt": "Once"}, [("user", "Once")]),
        ({"input": ["a", "b"]}, [("user", "a"), ("user", "b")]),
        ({"input": [[1, 2], 3]}, [("user", ""), ("user", "")]),
        ({"instructions": "x", "input": "y"}, [("user", "y")]),
        ("no JSON", [("user", "no JSON")]),
        ({"n": 1}, []),
        ("", []),
    ],
)
def test_a_prompt_is_found_in_every_dialect(body: Any, expected: list[tuple[str, str]]) -> None:
    assert found(body)[0] == expected


@pytest.mark.parametrize(
    "body",
    [{"system": "Be kind."}, {"instructions": "Be kind."}, {"system": [{"text": "Be kind."}]}],
)
def test_instructions_beside_the_conversation_have_an_attribute_of_their_own(body: Any) -> None:
    assert shaped(body)["system"] == [{"type": "text", "content": "Be kind."}]


CALL = {"type": "tool_call", "id": "c-1", "name": "weather", "arguments": {"city": "Bern"}}
RESULT = {"type": "tool_call_response", "id": "c-1", "response": "12 °C"}
ARGUMENTS = '{"city":"Bern"}'
FUNCTION = {"name": "weather", "arguments": ARGUMENTS}
CONVERSATIONS: dict[str, Any] = {
    "chat": {
        "messages": [
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [{"id": "c-1", "type": "function", "function": FUNCTION}],
            },
            {"role": "tool", "tool_call_id": "c-1", "content": "12 °C"},
        ]
    },
    "anthropic": {
        "messages": [
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "c-1", "name": "weather", "input": {"city": "Bern"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c-1",
                        "content": [{"type": "text", "text": "12 °C"}],
                    }
                ],
            },
        ]
    },
    "ollama": {
        "messages": [
            {
                "role": "assistant",
                "content": "",
                "thinking": "hm",
                "tool_calls": [
                    {"id": "c-1", "function": {"name": "weather", "arguments": {"city": "Bern"}}}
                ],
            },
            {"role": "tool", "tool_name": "c-1", "content": "12 °C"},
        ]
    },
}


@pytest.mark.parametrize("dialect", CONVERSATIONS)
def test_calls_of_tools_and_their_results_are_parts_of_a_prompt(dialect: str) -> None:
    assert shaped(CONVERSATIONS[dialect])["input"] == [
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, CALL]},
        {"role": "tool", "parts": [RESULT]},
    ]


def test_items_of_the_responses_api_are_messages() -> None:
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "?"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c-1", **FUNCTION},
        {"type": "function_call_output", "call_id": "c-1", "output": "12 °C"},
    ]
    assert shaped({"input": items})["input"] == [
        {"role": "user", "parts": [{"type": "text", "content": "?"}]},
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}]},
        {"role": "assistant", "parts": [CALL]},
        {"role": "tool", "parts": [RESULT]},
    ]


def test_of_images_and_files_the_address_is_kept_and_never_the_bytes() -> None:
    data = "data:image/png;base64," + "A" * 5000
    content = [
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "image_url", "image_url": {"url": data}},
        {"type": "input_image", "image_url": data},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f-1"}},
    ]
    body = {"messages": [{"role": "user", "content": content}]}
    (message,) = shaped(body)["input"]
    blob = {"type": "blob", "modality": "image", "mime_type": "image/png"}
    empty = {"content": "", "truncated": True}
    assert message["parts"] == [
        {"type": "uri", "modality": "image", "uri": "https://x.test/a.png"},
        *[{**blob, **empty}] * 3,
        {**blob, "modality": "audio", "mime_type": None, **empty},
        {"type": "file", "modality": "document", "file_id": "f-1"},
    ]


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


STREAMED: dict[str, str] = {
    "chat": sse(
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"reasoning_content": "h"}}]},
        {"choices": [{"delta": {"reasoning_content": "m"}}]},
        {
            "choices": [
                {
                    "delta": {
                        "tool_calls": [{"index": 0, "id": "c-1", "function": {"name": "weather"}}]
                    }
                }
            ]
        },
        *(
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": one}}]}}]}
            for one in ('{"city":', '"Bern"}')
        ),
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    ),
    "anthropic": sse(
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
        {"type": "content_block_delta", "index": 0, "delta": {"thinking": "hm"}},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "c-1", "name": "weather", "input": {}},
        },
        *(
            {"type": "content_block_delta", "index": 1, "delta": {"partial_json": one}}
            for one in ("", '{"city":', '"Bern"}')
        ),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ),
    "responses": sse(
        {"type": "response.created", "response": {"output": []}},
        {"type": "response.reasoning_summary_text.delta", "delta": "hm"},
        {"type": "response.function_call_arguments.delta", "delta": "{"},
        {
            "type": "response.output_item.done",
            "item": {"type": "function_call", "call_id": "c-1", **FUNCTION},
        },
        {"type": "response.completed", "response": {"status": "completed", "output": [{}]}},
    ),
    "ollama": "\n".join(
        json.dumps(one)
        for one in (
            {"message": {"content": "", "thinking": "h"}},
            {"message": {"content": "", "thinking": "m"}},
            CONVERSATIONS["ollama"]
            | {"message": CONVERSATIONS["ollama"]["messages"][0] | {"thinking": ""}},
            {"message": {"content": ""}, "done": True, "done_reason": "tool_calls"},
        )
    ),
    "whole chat": json.dumps(
        {
            "choices": [
                {"message": CONVERSATIONS["chat"]["messages"][0], "finish_reason": "tool_calls"}
            ]
        }
    ),
    "whole message": json.dumps(
        {"type": "message", "stop_reason": "tool_use", **CONVERSATIONS["anthropic"]["messages"][0]}
    ),
}


@pytest.mark.parametrize("dialect", STREAMED)
def test_calls_of_tools_in_an_answer_are_parts(dialect: str) -> None:
    assert shaped(answer=STREAMED[dialect])["output"] == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "hm"}, CALL],
            "finish_reason": "tool_call",
        }
    ]


def test_parallel_calls_keep_their_own_arguments() -> None:
    def piece(index: int, **function: str) -> dict[str, Any]:
        calls = [{"index": index, "id": f"c-{index}", "function": function}]
        return {"choices": [{"delta": {"tool_calls": calls}}]}

    pieces = [piece(n, name="f") for n in (0, 1)]
    pieces += [piece(n, arguments=one) for one in ('{"n":', "1}") for n in (0, 1)]
    (message,) = shaped(answer=sse(*pieces))["output"]
    assert [part["arguments"] for part in message["parts"]] == [{"n": 1}, {"n": 1}]


@pytest.mark.parametrize(
    ("said", "told", "expected"),
    [
        ("stop", {}, "stop"),
        ("length", {}, "length"),
        ("content_filter", {}, "content_filter"),
        ("another", {}, "another"),
        (None, {"finish": "max_tokens"}, "length"),  # the answer is longer than what was recorded
        (None, {}, "stop"),
        ("stop", {"complete": False}, "error"),
    ],
)
def test_every_answer_says_why_it_finished(
    said: str | None, told: dict[str, Any], expected: str
) -> None:
    answer = {"choices": [{"message": {"content": "a"}, "finish_reason": said}]}
    (message,) = shaped(answer=answer, **told)["output"]
    assert message["finish_reason"] == expected


def test_every_choice_is_a_message() -> None:
    choices = [
        {"index": n, "message": {"content": str(n)}, "finish_reason": "stop"} for n in (1, 0)
    ]
    assert found(answer=json.dumps({"choices": choices}))[1] == [
        ("assistant", "0"),
        ("assistant", "1"),
    ]


def test_arguments_and_results_are_masked_and_cut() -> None:
    call = {"function": {"name": "mail", "arguments": json.dumps({"to": "ann@example.com"})}}
    body = {
        "messages": [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": "bob@example.com " + "x" * 100},
        ]
    }
    made = json.loads(messages(json.dumps(body), "", Redaction(), 40)["input"])
    assert made[0]["parts"][0]["arguments"] == {"to": "***"}
    assert made[1]["parts"][0]["response"] == "*** " + "x" * 24
    assert made[1]["parts"][0]["truncated"]


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


MEMBERS = [
    *("choices", "delta", "message", "messages", "content", "text", "type", "input", "role"),
    *("tool_calls", "function", "arguments", "index", "content_block", "output", "response"),
    *("item", "source", "image_url", "url", "finish_reason"),
]


@given(st.text(), st.text(), st.integers(1, 100))
def test_no_body_breaks_it(prompt: str, answer: str, cap: int) -> None:
    for text in messages(prompt, answer, Redaction(), cap).values():
        for message in json.loads(text):
            assert sum(len(part["content"].encode()) for part in message["parts"]) <= cap


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(MEMBERS),
                inner,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=60)
def test_no_document_breaks_it(document: Any) -> None:
    made = shaped(json.dumps(document), json.dumps(document), 100)
    assert set(made) >= {"input", "output"}


def test_what_is_held_of_an_answer_is_bounded() -> None:
    content = RecordedContent()
    for _ in range(100):
        content.feed(b"x" * 65536)
    assert len(content.answer) == ANSWER_CAP_BYTES
