"""Metadata of responses: model, id and finish reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.traces.response_metadata import response_metadata

OPENAI = {
    "id": "chatcmpl-1",
    "model": "gpt-5-mini",
    "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}
STREAM = (
    b'data: {"id":"c-1","model":"demo","choices":[{"delta":{"content":"a"},"finish_reason":null}]}'
    b'\n\ndata: {"id":"c-1","choices":[{"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
)
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":'
    b'"claude-x","usage":{"input_tokens":9,"cache_creation_input_tokens":5,'
    b'"cache_read_input_tokens":7}}}\n\n'
    b'event: message_delta\ndata: {"delta":{"stop_reason":"end_turn"}}\n\n'
)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (
            json.dumps(OPENAI).encode(),
            {
                "model": "gpt-5-mini",
                "id": "chatcmpl-1",
                "finish": "stop",
            },
        ),
        (STREAM, {"model": "demo", "id": "c-1", "finish": "length"}),
        (
            ANTHROPIC,
            {
                "model": "claude-x",
                "id": "msg_1",
                "finish": "end_turn",
            },
        ),
        (b'{"model":"qwen3:8b","done":true,"done_reason":"stop"}', {"model": "qwen3:8b"}),
        (b"audio", {}),
        (b"", {}),
    ],
)
def test_it_is_found_in_every_dialect(data: bytes, found: dict[str, object]) -> None:
    assert response_metadata(data, data).items() >= found.items()


def test_what_a_model_writes_passes_for_nothing() -> None:
    text = json.dumps({"model": "evil", "finish_reason": "evil", "id": "evil"})
    data = json.dumps({"id": "c", "model": "real", "content": text, "finish_reason": "stop"})
    assert response_metadata(data.encode(), data.encode()) == {
        "model": "real",
        "id": "c",
        "finish": "stop",
    }


@given(st.binary())
def test_no_bytes_break_it(data: bytes) -> None:
    assert isinstance(response_metadata(data, data), dict)
