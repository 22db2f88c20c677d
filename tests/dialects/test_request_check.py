"""Request bodies are checked against the schemas of their dialect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import DIALECTS
from gateway.dialects.request_check import check_at
from gateway.errors import InvalidField

HELLO = {"role": "user", "content": "Hello"}
SECRET = "s3cret"
WRONG: dict[tuple[str, str], list[tuple[dict[str, Any], str | None, str]]] = {
    ("openai", "/v1/chat/completions"): [
        ({}, "messages", "missing_required_parameter"),
        ({"messages": SECRET}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"content": "Hello"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [HELLO, {"role": SECRET}]}, "messages[1].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        (
            {"messages": [{"role": "tool", "content": "4"}]},
            "messages[0].tool_call_id",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            "messages[0].content[0].text",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
            "missing_required_parameter",
        ),
        ({"messages": [HELLO], "temperature": 3}, "temperature", "invalid_value"),
        ({"messages": [HELLO], "temperature": "0.5"}, "temperature", "invalid_type"),
        ({"messages": [HELLO], "max_tokens": True}, "max_tokens", "invalid_type"),
        ({"messages": [HELLO], "max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"messages": [HELLO], "n": 1.5}, "n", "invalid_type"),
        ({"messages": [HELLO], "stream": "true"}, "stream", "invalid_type"),
        ({"messages": [HELLO], "stop": [SECRET, 1]}, "stop[1]", "invalid_type"),
        ({"messages": [HELLO], "tools": [{"type": "function"}]}, "tools[0].function", "missing_"),
        ({"messages": [HELLO], "logit_bias": {SECRET: 101}}, "logit_bias", "invalid_value"),
        ({"messages": [HELLO], "response_format": {}}, "response_format.type", "missing_"),
    ],
    ("openai", "/v1/completions"): [
        ({}, "prompt", "missing_required_parameter"),
        ({"prompt": ["a", {}]}, "prompt[1]", "invalid_type"),
        ({"prompt": [["a"]]}, "prompt[0][0]", "invalid_type"),
    ],
    ("openai", "/v1/embeddings"): [
        ({}, "input", "missing_required_parameter"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": "a", "dimensions": "8"}, "dimensions", "invalid_type"),
    ],
    ("openai", "/v1/responses"): [
        ({"input": 5}, "input", "invalid_type"),
        ({"input": [{"role": SECRET, "content": "a"}]}, "input[0].role", "invalid_value"),
        (
            {"input": [{"type": "function_call_output", "output": "4"}]},
            "input[0].call_id",
            "missing_required_parameter",
        ),
        ({"input": "a", "tools": [{"type": "function"}]}, "tools[0].name", "missing_"),
    ],
    ("openai", "/v1/images/generations"): [({"n": 1}, "prompt", "missing_required_parameter")],
    ("openai", "/v1/audio/speech"): [({"input": 1}, "input", "invalid_type")],
    ("anthropic", "/v1/messages"): [
        ({"messages": [HELLO]}, "max_tokens", "missing_required_parameter"),
        ({"messages": [HELLO], "max_tokens": "9"}, "max_tokens", "invalid_type"),
        ({"messages": [HELLO], "max_tokens": 9, "temperature": 1.5}, "temperature", "invalid_"),
        ({"max_tokens": 9, "messages": [{"role": SECRET}]}, "messages[0]", "missing_"),
        (
            {"max_tokens": 9, "messages": [{"role": "user", "content": [{"text": "a"}]}]},
            "messages[0].content[0].type",
            "missing_required_parameter",
        ),
        (
            {"max_tokens": 9, "messages": [HELLO], "tools": [{"name": "add"}]},
            "tools[0].input_schema",
            "missing_required_parameter",
        ),
        (
            {"max_tokens": 9, "messages": [HELLO], "system": [{"type": "text"}]},
            "system[0].text",
            "missing_required_parameter",
        ),
    ],
    ("anthropic", "/v1/messages/count_tokens"): [({}, "messages", "missing_required_parameter")],
    ("ollama", "/api/chat"): [
        ({"messages": [{"content": "a"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [], "options": {"num_ctx": "8k"}}, "options.num_ctx", "invalid_type"),
        ({"messages": [{"role": "user", "images": [1]}]}, "messages[0].images[0]", "invalid_type"),
    ],
    ("ollama", "/api/generate"): [({"prompt": ["a"]}, "prompt", "invalid_type")],
    ("ollama", "/api/embed"): [({}, "input", "missing_required_parameter")],
    ("ollama", "/api/embeddings"): [({"prompt": 1}, "prompt", "invalid_type")],
}
RIGHT: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("openai", "/v1/chat/completions"): [
        {"messages": [HELLO]},
        {"messages": [HELLO], "temperature": None, "tools": None, "stop": None, "logit_bias": None},
        {"messages": [HELLO], "guided_json": {"type": "object"}, "top_k": 20, "min_p": 0.1},
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {}}]}]},
        {
            "messages": [
                HELLO,
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "add", "arguments": "{}"},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "4"},
            ],
            "max_tokens": 5.0,
        },
    ],
    ("openai", "/v1/completions"): [{"prompt": [1, 2]}, {"prompt": [[1]]}, {"prompt_embeds": "a"}],
    ("openai", "/v1/embeddings"): [{"input": [[1, 2]]}, {"messages": [HELLO]}],
    ("openai", "/v1/responses"): [
        {"prompt": {"id": "p"}},
        {"input": [{"role": "user", "content": "a"}, {"type": "reasoning", "summary": []}]},
        {"input": [{"type": "computer_call", "role": "agent"}]},
    ],
    ("anthropic", "/v1/messages"): [
        {"messages": [HELLO], "max_tokens": 9, "tools": [{"type": "bash_20250124", "name": "b"}]},
        {"messages": [HELLO], "max_tokens": 9, "thinking": {"type": "adaptive"}},
    ],
    ("ollama", "/api/chat"): [{}, {"messages": [HELLO], "think": "high", "keep_alive": -1}],
    ("ollama", "/api/embed"): [{"input": ["a"]}],
}


def violation(dialect: str, path: str, body: dict[str, Any]) -> InvalidField | None:
    check = check_at(dialect, path)
    assert check is not None
    return check.violation(body)


@pytest.mark.parametrize(
    ("dialect", "path", "body", "param", "code"),
    [(*where, *wrong) for where, bodies in WRONG.items() for wrong in bodies],
)
def test_the_wrong_field_is_named_and_nothing_of_the_body_repeated(
    dialect: str, path: str, body: dict[str, Any], param: str, code: str
) -> None:
    error = violation(dialect, path, body)
    assert error is not None
    assert error.param is not None
    assert error.param.startswith(param)
    assert error.code.startswith(code)
    assert f"'{error.param}'" in error.message
    assert SECRET not in error.message + error.param


@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [(*where, body) for where, bodies in RIGHT.items() for body in bodies],
)
def test_what_the_real_apis_and_common_servers_take_is_right(
    dialect: str, path: str, body: dict[str, Any]
) -> None:
    assert violation(dialect, path, body) is None


def test_every_endpoint_has_a_wrong_request_here() -> None:
    ends = {(one.name, end) for one in DIALECTS.values() for end in one.request_schemas}
    assert len(ends) == len(WRONG)
    assert all(any(name == d and p.endswith(end) for d, p in WRONG) for name, end in ends)


def test_other_paths_have_no_check() -> None:
    assert check_at("openai", "/v1/audio/transcriptions") is None
    assert check_at("anthropic", "/v1/chat/completions") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
NAMES = ("messages", "role", "content", "tools", "logit_bias", "stop", "input", "type", "prompt")


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON, max_size=5))
def test_any_body_is_right_or_has_one_error(body: dict[str, Any]) -> None:
    for dialect in DIALECTS.values():
        for end in dialect.request_schemas:
            error = violation(dialect.name, end, body)
            assert error is None or error.status == 400
