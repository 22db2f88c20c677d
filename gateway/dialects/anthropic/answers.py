"""Read and write messages in Anthropic's dialect, whole or as stream events.

https://docs.anthropic.com/en/api/messages-streaming
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import orjson

from gateway.dialects.translation import backend_errors
from gateway.dialects.translation.calls import Calls, arguments_text, whole_arguments
from gateway.dialects.translation.content import Content
from gateway.dialects.translation.in_turn import InTurn
from gateway.dialects.translation.pieces import (
    ArgumentsDelta,
    CompleteAnswer,
    ContentEnd,
    MessageEnd,
    MessageFailed,
    MessageStart,
    Piece,
    ReasoningDelta,
    Skip,
    Skipped,
    Stop,
    TextDelta,
    ToolCallStart,
    UsageUpdate,
    WriterContext,
    broken_off,
)
from gateway.dialects.translation.stops import is_incomplete, stopped
from gateway.dialects.translation.values import count, object_in, parsed, text_in
from gateway.dialects.usage import reported_usage
from gateway.errors import UpstreamInvalidResponse
from gateway.sse import EventSplitter, EventTooLarge
from gateway.usage import Usage

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


_SILENT = frozenset({"ping", "content_block_stop"})
"""Events without content for other dialects."""
_SILENT_BLOCKS = frozenset({"redacted_thinking"})
_SILENT_DELTAS = frozenset({"signature_delta", "citations_delta"})


def read(document: dict[str, Any]) -> list[Piece]:
    """Return the pieces of a whole response."""
    if document.get("type") == "error":
        return [MessageFailed(backend_errors.of_event(document))]
    content = document.get("content")
    if not isinstance(content, (list, str)):
        return [MessageFailed(UpstreamInvalidResponse("no message with content"))]
    pieces: list[Piece] = [MessageStart(text_in(document, "model"))]
    message = _Message()
    for index, block in enumerate(content if isinstance(content, list) else [content]):
        message.begin(index, {"type": "text", "text": block} if isinstance(block, str) else block)
        message.give(pieces)
    message.finish(pieces)
    pieces.append(UsageUpdate(_tokens(object_in(document, "usage"))))
    if not document.get("stop_reason") and message.any and document.get("type") == "message":
        document["stop_reason"] = "end_turn"  # the backend sends no reason at all
    pieces += message.stopped(document)
    return pieces


class AnthropicStreamReader:
    """Stream reader for message events."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._message = _Message()
        self._usage = _NOTHING
        self._began = False
        self._stopped: dict[str, Any] | None = None
        """Delta with the stop reason, or None."""
        self._strange = False
        """True if an event was skipped."""
        self._over = False

    def feed(self, data: bytes) -> Sequence[Piece]:
        """Return the pieces that are complete."""
        pieces: list[Piece] = []
        if self._over:
            return pieces
        fault: MessageFailed | None = None
        try:
            events = self._splitter.feed(data)
        except EventTooLarge as exc:
            events = exc.events
            fault = MessageFailed(UpstreamInvalidResponse(str(exc)))
        for event in events:
            if event.data and not self._over:
                self._read(event.data, pieces)
        if fault is not None and not self._over:
            self._end(pieces, fault)
        return pieces

    def flush(self) -> Sequence[Piece]:
        """Return the rest. Without message_stop, a stream with a stop reason is complete."""
        pieces: list[Piece] = []
        if not self._over:
            if self._strange and not self._began:
                self._end(pieces, MessageFailed(UpstreamInvalidResponse("no event of a message")))
            else:
                self._finish(pieces)
        return pieces

    def _skip(self, pieces: list[Piece]) -> None:
        self._strange = True
        pieces.append(Skipped(Skip.EVENT))

    def _end(self, pieces: list[Piece], last: Piece) -> None:
        self._over = True
        pieces.append(last)

    def _read(self, data: bytes, pieces: list[Piece]) -> None:
        document = parsed(data)
        if document is None:
            if data.lstrip().startswith(b"{") and self._stopped is None:
                # Fail on a damaged event: without it the answer would be a different one.
                self._end(
                    pieces, MessageFailed(UpstreamInvalidResponse("an event that is broken JSON"))
                )
            elif data.strip() and data.strip() != b"[DONE]":
                self._skip(pieces)
            return
        kind = text_in(document, "type")
        if kind == "content_block_delta":
            self._begin("", pieces)
            self._message.delta(document, pieces)
        elif kind == "content_block_start":
            self._begin("", pieces)
            self._message.give(pieces)
            self._message.begin(count(document, "index"), document.get("content_block"))
        elif kind == "message_start":
            message = object_in(document, "message")
            self._usage = {**object_in(message, "usage")}
            self._begin(text_in(message, "model"), pieces)
        elif kind == "message_delta":
            self._begin("", pieces)
            if usage := object_in(document, "usage"):
                # A zero or null here does not replace what message_start reported.
                self._usage |= {name: value for name, value in usage.items() if value}
                pieces.append(UsageUpdate(_tokens(self._usage)))
            delta = object_in(document, "delta")
            if delta.get("stop_reason") is not None and self._stopped is None:
                self._stopped = delta
                if is_incomplete(delta["stop_reason"]):
                    self._finish(pieces)
        elif kind == "message_stop":
            self._message.give(pieces)
            if self._stopped is None and self._message.any:
                # Some backends never send a stop reason; message_stop marks the end.
                self._stopped = {"stop_reason": "end_turn"}
            self._finish(pieces)
        elif kind == "error" or (kind not in _SILENT and document.get("error")):
            self._end(pieces, MessageFailed(backend_errors.of_event(document)))
        elif kind == "content_block_stop":
            self._message.give(pieces)
        elif kind not in _SILENT and any(document.values()):
            self._skip(pieces)

    def _begin(self, model: str, pieces: list[Piece]) -> None:
        if not self._began:
            self._began = True
            pieces.append(MessageStart(model))

    def _finish(self, pieces: list[Piece]) -> None:
        if self._stopped is None:
            self._end(pieces, broken_off())
            return
        self._message.give(pieces)
        self._message.finish(pieces)
        pieces += self._message.stopped(self._stopped)
        self._over = True
        if not isinstance(pieces[-1], MessageFailed):
            pieces.append(MessageEnd())


class _Message:
    """Reader for a message, in whole blocks or in deltas."""

    def __init__(self) -> None:
        self._content = Content()
        self._calls = Calls()
        self._starts: dict[int, dict[str, Any]] = {}
        """Blocks that have just begun, by index. Some backends put a whole block into its start,
        and some repeat it in deltas: the content of the start counts if no delta follows.
        """

    @property
    def any(self) -> bool:
        """True once there was any content or tool call."""
        return self._content.any or bool(self._calls)

    def begin(self, index: int, block: Any) -> None:
        """Begin a block."""
        self._starts[index] = block if isinstance(block, dict) else {}

    def give(self, pieces: list[Piece]) -> None:
        """Add the pieces of blocks for which no delta has come."""
        starts, self._starts = self._starts, {}
        for index, block in starts.items():
            self._open(index, block, pieces, whole=True)

    def delta(self, document: dict[str, Any], pieces: list[Piece]) -> None:
        """Add a delta of a block."""
        index = count(document, "index")
        block = self._starts.pop(index, None)
        if self._starts:
            self.give(pieces)
        delta = object_in(document, "delta")
        kind = text_in(delta, "type")
        if block is not None:
            says = kind == "input_json_delta" and bool(delta.get("partial_json"))
            if kind == "input_json_delta" and not says:
                self._starts[index] = block  # its start may hold the arguments
                return
            self._open(index, block, pieces, whole=not says)
        if kind == "text_delta":
            self._content.say(delta.get("text"), pieces)
        elif kind == "thinking_delta":
            self._content.think(delta.get("thinking"), pieces)
        elif kind == "input_json_delta":
            text = arguments_text(delta.get("partial_json"))
            if self._calls.knows(index):
                self._calls.add(index, "", "", text, pieces)
            elif text:
                pieces.append(Skipped(Skip.CALL))
        elif kind not in _SILENT_DELTAS:
            pieces.append(Skipped(Skip.PART))

    def _open(self, index: int, block: dict[str, Any], pieces: list[Piece], *, whole: bool) -> None:
        kind = text_in(block, "type")
        if kind == "tool_use":
            self._calls.begin(index, text_in(block, "id"), text_in(block, "name"), pieces)
            given = block.get("input")
            if whole and given:
                self._calls.add(index, "", "", arguments_text(given), pieces)
        elif kind == "text":
            self._content.say(block.get("text"), pieces)
        elif kind == "thinking":
            self._content.think(block.get("thinking"), pieces)
        elif kind not in _SILENT_BLOCKS:
            pieces.append(Skipped(Skip.PART))

    def finish(self, pieces: list[Piece]) -> None:
        """Add the remaining pieces. No more blocks follow."""
        self._content.finish(pieces)
        self._calls.finish(pieces)

    def stopped(self, said: dict[str, Any]) -> list[Piece]:
        """Return the pieces for the stop reason."""
        return stopped(
            said.get("stop_reason"),
            _STOPS,
            text_in(said, "stop_sequence"),
            said=self._content.any,
            called=bool(self._calls),
        )


def _tokens(usage: dict[str, Any]) -> Usage:
    return reported_usage({"usage": usage}) or Usage(0, 0)


# -- writing ---------------------------------------------------------------------------------------


def write(answer: CompleteAnswer, context: WriterContext) -> bytes:
    """Return the body of a whole response. Raise UpstreamInvalidResponse for bad arguments."""
    content: list[dict[str, Any]] = []
    if answer.thinking:
        content.append({"type": "thinking", "thinking": answer.thinking, "signature": ""})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    for index, call in enumerate(answer.calls):
        arguments = whole_arguments(call, answer.stopped)
        call_id = call.id or _call_id(context, index)
        content.append({"type": "tool_use", "id": call_id, "name": call.name, "input": arguments})
    body = {
        **_message(answer.model, context),
        "content": content,
        "stop_reason": _word(answer.stopped, calls=bool(answer.calls)),
        "stop_sequence": answer.stopped.sequence,
        "usage": _written_usage(answer.tokens or Usage(0, 0)),
    }
    return orjson.dumps(body)


class _Block(Enum):
    """Kind of a content block."""

    TEXT = "text"
    THINKING = "thinking"
    TOOL = "tool_use"


_EMPTY: dict[_Block, dict[str, Any]] = {
    _Block.TEXT: {"type": "text", "text": ""},
    _Block.THINKING: {"type": "thinking", "thinking": "", "signature": ""},
}


class AnthropicStreamWriter:
    """Stream writer for message events."""

    def __init__(self, context: WriterContext) -> None:
        self._context = context
        self._index = -1
        """Index of the last block."""
        self._open: _Block | None = None
        self._call = -1
        """Index of the call whose block is open or was the last one open."""
        self._tokens: Usage | None = None
        self._stopped = ContentEnd(Stop.END)
        self._in_turn: InTurn | None = None
        """Reordering buffer; created at the first tool call."""

    def write(self, piece: Piece) -> bytes:
        """Return the encoded piece; no bytes for Failed. Raise UpstreamInvalidResponse for
        arguments of a call whose block has ended.
        """
        if self._in_turn is None:
            if not isinstance(piece, ToolCallStart):
                return self._write(piece)
            self._in_turn = InTurn()
        return b"".join([self._write(one) for one in self._in_turn.feed(piece)])

    def _write(self, piece: Piece) -> bytes:
        match piece:
            case TextDelta(text):
                return self._block(_Block.TEXT) + self._delta({"type": "text_delta", "text": text})
            case ReasoningDelta(text):
                delta = {"type": "thinking_delta", "thinking": text}
                return self._block(_Block.THINKING) + self._delta(delta)
            case ToolCallStart(index, call_id, name):
                self._call = index
                call_id = call_id or _call_id(self._context, index)
                block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
                return self._close() + self._start(_Block.TOOL, block)
            case ArgumentsDelta(index, text):
                if self._open is not _Block.TOOL or index != self._call:
                    raise UpstreamInvalidResponse("arguments behind the end of a tool's call")
                return self._delta({"type": "input_json_delta", "partial_json": text})
            case MessageStart(model):
                message = {
                    **_message(model, self._context),
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": {"input_tokens": self._context.input_estimate, "output_tokens": 0},
                }
                return _event("message_start", message=message)
            case UsageUpdate(tokens):
                self._tokens = tokens
                return b""
            case ContentEnd():
                self._stopped = piece
                return b""
            case MessageEnd():
                return self._close() + self._end()
            case MessageFailed() | Skipped():
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
        # Send no input count if none was reported: clients would replace the estimate with zero.
        tokens = self._tokens
        usage = {"output_tokens": 0} if tokens is None else _written_usage(tokens)
        return _event("message_delta", delta=delta, usage=usage) + _event("message_stop")


def _event(kind: str, **fields: Any) -> bytes:
    data = orjson.dumps({"type": kind, **fields})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _message(model: str, context: WriterContext) -> dict[str, Any]:
    return {
        "id": f"msg_{context.request_id}",
        "type": "message",
        "role": "assistant",
        "model": context.model or model,
    }


def _word(stopped: ContentEnd, *, calls: bool) -> str:
    return "tool_use" if calls and stopped.stop is Stop.END else _WORDS[stopped.stop]


def _call_id(context: WriterContext, index: int) -> str:
    return f"toolu_{context.request_id}_{index}"


def _written_usage(tokens: Usage) -> dict[str, int]:
    return {
        "input_tokens": tokens.input - tokens.cached - tokens.cache_write,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.output,
    }
