"""Messages in Anthropic's dialect, whole and as events:
https://docs.anthropic.com/en/api/messages-streaming.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import orjson

from gateway.dialects.translation import backend_errors
from gateway.dialects.translation.fields import arguments_of
from gateway.dialects.translation.pieces import (
    Argued,
    Began,
    Called,
    Ended,
    Failed,
    Piece,
    Said,
    Stop,
    Stopped,
    Telling,
    Thought,
    Tokens,
    Used,
    Whole,
    broken_off,
)
from gateway.dialects.translation.values import count, object_in, parsed, text_in
from gateway.errors import RequestError, UpstreamInvalidResponse
from gateway.sse import EventSplitter, EventTooLarge

_STOPS = {
    "end_turn": Stop.END,
    "stop_sequence": Stop.SEQUENCE,
    "max_tokens": Stop.LENGTH,
    "model_context_window_exceeded": Stop.LENGTH,
    "tool_use": Stop.TOOLS,
    "refusal": Stop.REFUSED,
}
_WORDS = {
    Stop.END: "end_turn",
    Stop.SEQUENCE: "stop_sequence",
    Stop.LENGTH: "max_tokens",
    Stop.TOOLS: "tool_use",
    Stop.REFUSED: "refusal",
}
_NOTHING: dict[str, Any] = {}


def read(document: dict[str, Any]) -> list[Piece]:
    """The pieces of a whole answer."""
    if document.get("type") == "error":
        return [Failed(backend_errors.of_event(document))]
    content = document.get("content")
    if not isinstance(content, list):
        return [Failed(UpstreamInvalidResponse("no message with content"))]
    pieces: list[Piece] = [Began(text_in(document, "model"))]
    calls = 0
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            pieces.append(Said(text_in(block, "text")))
        elif kind == "thinking":
            pieces.append(Thought(text_in(block, "thinking")))
        elif kind == "tool_use":
            pieces.append(Called(calls, text_in(block, "id"), text_in(block, "name")))
            arguments = orjson.dumps(object_in(block, "input")).decode()
            pieces.append(Argued(calls, arguments))
            calls += 1
    pieces.append(Used(_tokens(object_in(document, "usage"))))
    pieces.append(_stopped(document))
    return pieces


class Reader:
    """Of a stream."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._calls: dict[int, int] = {}
        """The number of a call, by the index of its block."""
        self._usage = _NOTHING
        self._began = False
        self._stopped = False
        self._over = False

    def feed(self, data: bytes) -> Sequence[Piece]:
        """The pieces that are whole now."""
        pieces: list[Piece] = []
        if self._over:
            return pieces
        fault: Failed | None = None
        try:
            events = self._splitter.feed(data)
        except EventTooLarge as exc:
            events = exc.events
            fault = Failed(UpstreamInvalidResponse(str(exc)))
        for event in events:
            if event.data is not None and not self._over:
                self._read(event.data, pieces)
        if fault is not None and not self._over:
            self._end(pieces, fault)
        return pieces

    def flush(self) -> Sequence[Piece]:
        """The rest; a stream without message_stop is complete if it said why it stopped."""
        pieces: list[Piece] = []
        if not self._over:
            self._end(pieces, Ended() if self._stopped else broken_off())
        return pieces

    def _end(self, pieces: list[Piece], last: Piece) -> None:
        self._over = True
        pieces.append(last)

    def _read(self, data: bytes, pieces: list[Piece]) -> None:
        document = parsed(data)
        if document is None:
            self._end(pieces, Failed(UpstreamInvalidResponse("an event that is no JSON object")))
            return
        kind = document.get("type")
        if kind == "message_start":
            message = object_in(document, "message")
            self._usage = object_in(message, "usage")
            self._begin(text_in(message, "model"), pieces)
            return
        if kind in ("content_block_start", "content_block_delta", "message_delta"):
            self._begin("", pieces)
        if kind == "content_block_delta":
            self._delta(document, pieces)
        elif kind == "content_block_start":
            self._block(document, pieces)
        elif kind == "message_delta":
            self._usage = {**self._usage, **object_in(document, "usage")}
            pieces.append(Used(_tokens(self._usage)))
            delta = object_in(document, "delta")
            if delta.get("stop_reason") is not None:
                stopped = _stopped(delta)
                pieces.append(stopped)
                self._stopped = True
                self._over = isinstance(stopped, Failed)
        elif kind == "message_stop":
            self._end(pieces, Ended() if self._stopped else broken_off())
        elif kind == "error":
            self._end(pieces, Failed(backend_errors.of_event(document)))

    def _begin(self, model: str, pieces: list[Piece]) -> None:
        if not self._began:
            self._began = True
            pieces.append(Began(model))

    def _block(self, document: dict[str, Any], pieces: list[Piece]) -> None:
        block = object_in(document, "content_block")
        kind = block.get("type")
        if kind == "tool_use":
            number = len(self._calls)
            self._calls[count(document, "index")] = number
            pieces.append(Called(number, text_in(block, "id"), text_in(block, "name")))
        elif kind == "text" and block.get("text"):
            pieces.append(Said(text_in(block, "text")))

    def _delta(self, document: dict[str, Any], pieces: list[Piece]) -> None:
        delta = object_in(document, "delta")
        kind = delta.get("type")
        if kind == "text_delta":
            pieces.append(Said(text_in(delta, "text")))
        elif kind == "thinking_delta":
            pieces.append(Thought(text_in(delta, "thinking")))
        elif kind == "input_json_delta":
            number = self._calls.get(count(document, "index"))
            text = text_in(delta, "partial_json")
            if number is not None and text:
                pieces.append(Argued(number, text))


def _stopped(said: dict[str, Any]) -> Piece:
    stop = _STOPS.get(text_in(said, "stop_reason"))
    if stop is None:
        # `pause_turn` is for tools of Anthropic's own; others are unknown: it is not complete.
        return Failed(UpstreamInvalidResponse("an unknown stop_reason"))
    return Stopped(stop, text_in(said, "stop_sequence") or None)


def _tokens(usage: dict[str, Any]) -> Tokens:
    cached, written = (count(usage, f"cache_{what}_input_tokens") for what in ("read", "creation"))
    return Tokens(
        count(usage, "input_tokens") + cached + written,
        count(usage, "output_tokens"),
        cached,
        written,
        count(object_in(usage, "output_tokens_details"), "thinking_tokens"),
    )


# -- writing ---------------------------------------------------------------------------------------


def write(answer: Whole, telling: Telling) -> bytes:
    """The body of a whole answer. Raise UpstreamInvalidResponse for arguments that are no JSON."""
    content: list[dict[str, Any]] = []
    if answer.thinking:
        content.append({"type": "thinking", "thinking": answer.thinking, "signature": ""})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    for index, call in enumerate(answer.calls):
        try:
            arguments = arguments_of(call.arguments)
        except RequestError:
            raise UpstreamInvalidResponse("a tool's call with broken arguments") from None
        call_id = call.id or _call_id(telling, index)
        content.append({"type": "tool_use", "id": call_id, "name": call.name, "input": arguments})
    body = {
        **_message(answer.model, telling),
        "content": content,
        "stop_reason": _word(answer.stopped, calls=bool(answer.calls)),
        "stop_sequence": answer.stopped.sequence,
        "usage": _written_usage(answer.tokens or Tokens(0, 0)),
    }
    return orjson.dumps(body)


class _Block(Enum):
    """What a content block holds."""

    TEXT = "text"
    THINKING = "thinking"
    TOOL = "tool_use"


_EMPTY: dict[_Block, dict[str, Any]] = {
    _Block.TEXT: {"type": "text", "text": ""},
    _Block.THINKING: {"type": "thinking", "thinking": "", "signature": ""},
}


class Writer:
    """Of a stream."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._index = -1
        """Of the last block."""
        self._open: _Block | None = None
        self._call = -1
        """The call whose block is open, or was the last to be."""
        self._tokens = Tokens(0, 0)
        self._stopped = Stopped(Stop.END)

    def write(self, piece: Piece) -> bytes:
        """The bytes it is. Raise UpstreamInvalidResponse if it cannot be told."""
        match piece:
            case Said(text):
                return self._block(_Block.TEXT) + self._delta({"type": "text_delta", "text": text})
            case Thought(text):
                delta = {"type": "thinking_delta", "thinking": text}
                return self._block(_Block.THINKING) + self._delta(delta)
            case Called(index, call_id, name):
                self._call = index
                call_id = call_id or _call_id(self._telling, index)
                block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
                return self._close() + self._start(_Block.TOOL, block)
            case Argued(index, text):
                if self._open is not _Block.TOOL or index != self._call:
                    raise UpstreamInvalidResponse("calls of tools that are mixed with each other")
                return self._delta({"type": "input_json_delta", "partial_json": text})
            case Began(model):
                message = {
                    **_message(model, self._telling),
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": {"input_tokens": 0, "output_tokens": 0},
                }
                return _event("message_start", message=message)
            case Used(tokens):
                self._tokens = tokens
                return b""
            case Stopped():
                self._stopped = piece
                return b""
            case Ended():
                return self._close() + self._end()
            case Failed():
                return b""

    def _block(self, kind: _Block) -> bytes:
        if self._open is kind:
            return b""
        return self._close() + self._start(kind, _EMPTY[kind])

    def _start(self, kind: _Block, block: dict[str, Any]) -> bytes:
        self._open = kind
        self._index += 1
        return _event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return b'event: content_block_delta\ndata: {"type":"content_block_delta",%b}\n\n' % (
            b'"index":%d,"delta":%b' % (self._index, orjson.dumps(delta))
        )

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _event("content_block_stop", index=self._index)

    def _end(self) -> bytes:
        word = _word(self._stopped, calls=self._call >= 0)
        delta = {"stop_reason": word, "stop_sequence": self._stopped.sequence}
        usage = _written_usage(self._tokens)
        return _event("message_delta", delta=delta, usage=usage) + _event("message_stop")


def _event(kind: str, **fields: Any) -> bytes:
    data = orjson.dumps({"type": kind, **fields})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _message(model: str, telling: Telling) -> dict[str, Any]:
    return {
        "id": f"msg_{telling.request_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
    }


def _word(stopped: Stopped, *, calls: bool) -> str:
    return "tool_use" if calls and stopped.stop is Stop.END else _WORDS[stopped.stop]


def _call_id(telling: Telling, index: int) -> str:
    return f"toolu_{telling.request_id}_{index}"


def _written_usage(tokens: Tokens) -> dict[str, int]:
    return {
        "input_tokens": tokens.input - tokens.cached - tokens.written,
        "cache_creation_input_tokens": tokens.written,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.output,
    }
