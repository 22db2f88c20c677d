"""Cost of translating an event of a stream, and a request, for every pair of dialects."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.pieces import WriterContext
from gateway.dialects.translation.translation import Translation

_ROUNDS = 7
_EVENTS = 2000
_REQUESTS = 200
_PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
_OPTIONS = TranslationOptions(continues="prefill")
_TELLING = WriterContext("0" * 32, 1_700_000_000.0)

Costs = dict[str, tuple[float, float]]
"""µs for an event and µs for a request, by pair of dialects."""


def measure() -> Costs:
    """Measure the CPU time, the minimum of several rounds. Takes a few seconds."""
    return {
        f"{caller} caller, {backend} backend": (
            min(_event_us(caller, backend) for _ in range(_ROUNDS)),
            min(_request_us(caller, backend) for _ in range(_ROUNDS)),
        )
        for caller in _PATHS
        for backend in _PATHS
        if caller != backend
    }


def render(costs: Costs) -> str:
    """Return the costs as a table."""
    lines = [f"{'':36}{'µs an event':>14}{'µs a request':>14}"]
    lines += [f"{name:36}{event:14.1f}{asked:14.1f}" for name, (event, asked) in costs.items()]
    return "\n".join(lines)


def _event_us(caller: str, backend: str) -> float:
    call = Translation(caller, backend, _OPTIONS).call(_PATHS[caller], _document(caller), _TELLING)
    reader, writer = call.reader, call.writer
    assert reader is not None
    assert writer is not None
    first, *events = [_EVENT[backend](f" {number}") for number in range(_EVENTS + 1)]
    for piece in reader.feed(_MESSAGE + first if backend == "anthropic" else first):
        writer.write(piece)
    started = time.process_time()
    for event in events:
        b"".join([writer.write(piece) for piece in reader.feed(event)])
    return (time.process_time() - started) / _EVENTS * 1e6


def _request_us(caller: str, backend: str) -> float:
    translation, body = Translation(caller, backend, _OPTIONS), orjson.dumps(_document(caller))
    started = time.process_time()
    for _ in range(_REQUESTS):
        translation.call(_PATHS[caller], orjson.loads(body), _TELLING)
    return (time.process_time() - started) / _REQUESTS * 1e6


def _document(caller: str) -> dict[str, Any]:
    """Return a conversation of 11 messages, 4 KiB."""
    roles = ("user", "assistant")
    messages = [{"role": roles[turn % 2], "content": "words and " * 40} for turn in range(11)]
    document: dict[str, Any] = {"model": "m", "messages": messages, "stream": True}
    return document | ({"max_tokens": 500} if caller == "anthropic" else {})


def _openai(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: %b\n\n" % orjson.dumps(head | {"choices": [choice]})


def _anthropic(text: str) -> bytes:
    delta = {"type": "text_delta", "text": text}
    document = {"type": "content_block_delta", "index": 0, "delta": delta}
    return b"event: content_block_delta\ndata: %b\n\n" % orjson.dumps(document)


def _ollama(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    head = {"model": "m", "created_at": "2026-01-01T00:00:00.000000Z"}
    return orjson.dumps(head | {"message": message, "done": False}) + b"\n"


_EVENT: dict[str, Callable[[str], bytes]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "ollama": _ollama,
}
_MESSAGE = b'event: message_start\ndata: {"type":"message_start","message":{"model":"m"}}\n\n'
