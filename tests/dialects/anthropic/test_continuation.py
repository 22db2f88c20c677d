"""Messages that another backend continues."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.dialects.streams import answer_in, continued, sse_data


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def text(said: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": said})


def test_usage_is_of_the_whole_answer() -> None:
    start = event("message_start", message={"usage": {"input_tokens": 9, "output_tokens": 1}})
    again = event("message_start", message={"usage": {"input_tokens": 11, "output_tokens": 1}})
    usage = {"input_tokens": 2, "cache_read_input_tokens": 9, "output_tokens": 3}
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
    *_, told = continued(
        "anthropic", start + text("Once ") + text("upon "), again + text("a time") + end
    )
    assert told["usage"] == {"input_tokens": 9, "cache_read_input_tokens": 0, "output_tokens": 5}


@pytest.mark.parametrize("alive", [b"data:\n\n", b'event: ping\ndata: {"type":"ping"}\n\n'])
def test_a_sign_of_life_is_no_reason_not_to_continue(alive: bytes) -> None:
    block = {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}
    answer = answer_in("anthropic", sse_data(block) + alive + text("Once"))
    assert (answer.open, answer.answered.text) == (True, "Once")
