"""Records of any request and any answer."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import DIALECTS
from gateway.masking import Redaction
from gateway.outcome import EndReason
from gateway.prompt_audit.record import AuditRecord, RecordOptions
from gateway.prompt_audit.redaction import RecordRedaction
from gateway.telemetry.captured_prompt import CapturedPrompt
from tests.support.hooks import an_exchange

OPTIONS = RecordOptions(
    sample=1.0,
    request=True,
    answer=True,
    cap_bytes=10_000,
    media=False,
    redaction=RecordRedaction(Redaction()),
    dialect=DIALECTS["openai"],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["content", "messages", "choices", "delta", "tool_calls", "type", "text", "index"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
TYPES = ["", "application/json", "text/plain", "text/event-stream", "image/png", "a;b/;"]


def recorded(
    body: bytes | None,
    answer: bytes = b"",
    *,
    content_type: str = "application/json",
    answer_type: str = "application/json",
    coding: str = "",
    is_streamed: bool = False,
    options: RecordOptions = OPTIONS,
    path: str = "/v1/chat/completions",
) -> AuditRecord:
    captured = CapturedPrompt(16 * options.cap_bytes)
    captured.body, captured.content_type = body, content_type
    captured.answer_type, captured.answer_coding = answer_type, coding
    captured.is_streamed = is_streamed
    if answer:
        captured.feed(answer)
    exchange = an_exchange()
    exchange.path, exchange.status = path, 200
    exchange.end_reason = EndReason.COMPLETE
    return AuditRecord(exchange, captured, options, lambda model, upstream, usage: None)


def line(*args: Any, **kwargs: Any) -> Any:
    return json.loads(recorded(*args, **kwargs).line())


@given(
    st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(TYPES),
    st.sampled_from(["", "gzip", "br", "zstd", "unheard-of"]),
    st.booleans(),
    st.booleans(),
)
def test_every_request_has_a_record(
    body: bytes, answer: bytes, kind: str, coding: str, is_streamed: bool, is_redacted: bool
) -> None:
    options = OPTIONS if is_redacted else replace(OPTIONS, redaction=None)
    told = line(
        body,
        answer,
        content_type=kind,
        answer_type=kind,
        coding=coding,
        is_streamed=is_streamed,
        options=options,
    )
    assert told["request"]["bytes"] == len(body)
    assert told["verdict"] == "ok"


@given(st.lists(JSON, max_size=5))
def test_every_stream_has_a_record(documents: list[Any]) -> None:
    events = b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in documents)
    told = line(b"{}", events, answer_type="text/event-stream", is_streamed=True)
    assert isinstance(told["answer"]["text"], str)


@pytest.mark.parametrize("depth", [100, 249, 252, 254, 900, 5000, 100_000])
@pytest.mark.parametrize("is_redacted", [True, False])
@pytest.mark.parametrize("opening", [b'{"content":', b"["])
def test_nobody_keeps_out_of_the_record_by_nesting(
    depth: int, is_redacted: bool, opening: bytes
) -> None:
    options = OPTIONS if is_redacted else replace(OPTIONS, redaction=None)
    closing = b"}" if opening[:1] == b"{" else b"]"
    deep = opening * depth + b'"the words"' + closing * depth
    body = b'{"messages":[{"role":"user","content":%b}]}' % deep
    answer = b'{"choices":[{"index":0,"message":{"content":%b}}]}' % deep
    options = replace(options, cap_bytes=4_000_000)
    told = line(body, answer, options=options)
    assert "the words" in json.dumps(told["request"])
    assert "the words" in json.dumps(told["answer"])
    event = b"data: %b\n\n" % answer.replace(b"message", b"delta")
    streamed = line(body, event, answer_type="text/event-stream", is_streamed=True, options=options)
    assert streamed["answer"]["bytes"] == len(event)


def test_compressed_answers_are_recorded_as_text() -> None:
    answer = gzip.compress(json.dumps({"choices": [{"message": {"content": "Hi"}}]}).encode())
    told = line(b"{}", answer, coding="gzip")
    assert told["answer"]["text"] == "Hi"
    bomb = gzip.compress(b"x" * 50_000_000)
    told = line(b"{}", bomb, coding="gzip", answer_type="text/plain")
    assert told["answer"]["truncated"] is True
    assert len(told["answer"]["body"]) <= OPTIONS.cap_bytes


def test_a_secret_at_the_place_of_the_cut_is_not_told_in_part() -> None:
    for offset in range(0, 60, 7):
        text = "x" * (OPTIONS.cap_bytes - 20 + offset) + " sk-" + "a1b2c3d4" * 20 + " " * 3000
        told = line(text.encode(), content_type="text/plain")
        assert "a1b2" not in told["request"]["body"]


@pytest.mark.parametrize(
    ("dialect", "path", "answer_type", "events", "kind"),
    [
        (
            "anthropic",
            "/v1/messages",
            "text/event-stream",
            [
                {"type": "message_start", "message": {"id": "i", "model": "m", "usage": {}}},
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": "Hi"},
                },
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
                {"type": "message_stop"},
            ],
            "message",
        ),
        (
            "openai",
            "/v1/responses",
            "text/event-stream",
            [
                {"type": "response.output_text.delta", "delta": "Hi"},
                {
                    "type": "response.completed",
                    "response": {"object": "response", "status": "completed", "output": []},
                },
            ],
            "response",
        ),
        (
            "ollama",
            "/api/chat",
            "application/x-ndjson",
            [
                {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": False},
                {"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop"},
            ],
            "m",
        ),
    ],
)
def test_streams_of_every_dialect_are_assembled_in_their_own_form(
    dialect: str, path: str, answer_type: str, events: list[Any], kind: str
) -> None:
    if dialect == "ollama":
        data = b"".join(json.dumps(one).encode() + b"\n" for one in events)
    else:
        data = b"".join(
            b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode())
            for one in events
        )
    options = replace(OPTIONS, dialect=DIALECTS[dialect])
    told = line(b"{}", data, answer_type=answer_type, is_streamed=True, options=options, path=path)
    answer = told["answer"]
    assert answer["text"] == "Hi"
    assert kind in (
        answer["body"].get("type"),
        answer["body"].get("object"),
        answer["body"].get("model"),
    )


async def test_content_that_a_hook_cannot_redact_is_left_out() -> None:
    class Broken:
        async def redacted(self, text: str) -> str:
            raise ValueError(text)

    hook: Any = Broken()
    redaction = RecordRedaction(Redaction(), [hook])
    made = recorded(b'{"a":"secret"}', options=replace(OPTIONS, redaction=redaction))
    waiting = made.prepare()
    assert waiting is not None
    await waiting
    told = json.loads(made.line())
    assert told["request"] == {"left_out": "it could not be redacted: ValueError"}
    assert "secret" not in json.dumps(told)
