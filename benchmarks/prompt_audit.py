"""Cost of the prompt audit: for an event of a stream, and for a record."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson

from gateway.dialects import DIALECTS
from gateway.exchange import Exchange
from gateway.masking import Redaction
from gateway.outcome import EndReason
from gateway.prompt_audit.data_keys import SecretKey
from gateway.prompt_audit.file_writer import FileOptions, FileWriter, Sync
from gateway.prompt_audit.folder import AuditFolder
from gateway.prompt_audit.record import AuditRecord, RecordOptions
from gateway.prompt_audit.redaction import RecordRedaction
from gateway.proxy.response_body import ResponseBody
from gateway.telemetry.captured_prompt import CapturedPrompt
from gateway.upstream.head import ResponseHead
from gateway.upstream.response import UpstreamResponse

_ROUNDS = 5
_EVENTS = 20_000
_RECORDS = 200
_ANSWER_EVENTS = 200
_OPTIONS = RecordOptions(
    sample=1.0,
    request=True,
    answer=True,
    cap_bytes=256 * 1024,
    media=False,
    redaction=RecordRedaction(Redaction()),
    dialect=DIALECTS["openai"],
)
AuditCosts = dict[str, float]
"""µs of CPU time by what is done."""


def measure() -> AuditCosts:
    """Measure the CPU time, the minimum of several rounds. Takes some seconds."""
    plain = replace(_OPTIONS, redaction=None)
    return {
        "event: passed on unread": _least(lambda: _event_us(is_captured=False)),
        "event: copied for the record": _least(lambda: _event_us(is_captured=True)),
        "request: facts, at its end": _least(_facts_us),
        "record of 200 events: made": _least(lambda: _record_us(plain)),
        "record of 200 events: made and masked": _least(lambda: _record_us(_OPTIONS)),
        "record: compressed, sealed and written": _least(_write_us),
    }


def render(costs: AuditCosts) -> str:
    """Return the costs as a table."""
    return "\n".join(f"{name:44}{cost:10.1f} µs" for name, cost in costs.items())


def _least(once: Callable[[], float]) -> float:
    return min(once() for _ in range(_ROUNDS))


def _event_us(*, is_captured: bool) -> float:
    """Return the cost of an event after the first token, as the relay looks at it."""
    head = ResponseHead(200, b"OK", [(b"Content-Type", b"text/event-stream")], "1.1")
    body = ResponseBody(UpstreamResponse(head, None), _exchange(), DIALECTS["openai"])
    if is_captured:
        body.tee(CapturedPrompt(16 * _OPTIONS.cap_bytes).feed)
    look = body.look
    assert look is not None
    events = [_event(number) for number in range(_EVENTS)]
    look(events[0])
    started = time.process_time()
    for event in events:
        look(event)
    return (time.process_time() - started) / _EVENTS * 1e6


def _facts_us() -> float:
    exchanges = [(_exchange(), _captured()) for _ in range(_RECORDS)]
    started = time.process_time()
    for exchange, captured in exchanges:
        AuditRecord(exchange, captured, _OPTIONS, lambda model, upstream, usage: None)
    return (time.process_time() - started) / _RECORDS * 1e6


def _record_us(options: RecordOptions) -> float:
    records = [
        AuditRecord(_exchange(), _captured(), options, lambda model, upstream, usage: None)
        for _ in range(_RECORDS)
    ]
    started = time.process_time()
    for record in records:
        record.line()
    return (time.process_time() - started) / _RECORDS * 1e6


def _write_us() -> float:
    line = AuditRecord(
        _exchange(), _captured(), _OPTIONS, lambda model, upstream, usage: None
    ).line()
    with tempfile.TemporaryDirectory() as folder:
        options = FileOptions(
            gzip=True,
            keys=[SecretKey("k", bytes(32))],
            size_bytes=1024**3,
            age_s=3600,
            sync=Sync.NEVER,
        )
        writer = FileWriter(AuditFolder(Path(folder)), options)
        started = time.process_time()
        for _ in range(10):
            writer.append([line] * (_RECORDS // 10))
        writer.close()
        return (time.process_time() - started) / _RECORDS * 1e6


def _exchange() -> Exchange:
    exchange = Exchange("POST", "127.0.0.1", False)
    exchange.path, exchange.status = "/v1/chat/completions", 200
    exchange.end_reason, exchange.ended_at = EndReason.COMPLETE, time.perf_counter()
    return exchange


def _captured() -> CapturedPrompt:
    captured = CapturedPrompt(16 * _OPTIONS.cap_bytes)
    messages = [{"role": "user", "content": "Tell me about the weather in Lisbon. " * 50}]
    captured.body = orjson.dumps({"model": "m", "messages": messages, "stream": True})
    captured.content_type = "application/json"
    captured.answer_type, captured.is_streamed = "text/event-stream", True
    for number in range(_ANSWER_EVENTS):
        captured.feed(_event(number))
    captured.feed(b"data: [DONE]\n\n")
    return captured


def _event(number: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f" w{number % 100}"}, "finish_reason": None}
    document = {
        "id": "chatcmpl-0123456789",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "llama-3.1-8b",
        "choices": [choice],
    }
    return b"data: %b\n\n" % orjson.dumps(document)
