"""Read and write responses to chat and generate in Ollama's dialect, whole or as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.dialects.json_lines import LineSplitter, LineTooLong
from gateway.dialects.translation import backend_errors
from gateway.dialects.translation.calls import Calls, whole_arguments
from gateway.dialects.translation.content import Content
from gateway.dialects.translation.pieces import (
    ArgumentsDelta,
    Call,
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
from gateway.dialects.translation.stops import stopped
from gateway.dialects.translation.values import parsed, text_in
from gateway.dialects.usage import reported_usage
from gateway.errors import UpstreamInvalidResponse
from gateway.usage import Usage

_STOPS = {
    "stop": Stop.END,
    "length": Stop.LENGTH,
    "": Stop.END,
    "content_filter": Stop.REFUSED,
    "tool_calls": Stop.TOOLS,
}
_WORDS = {
    Stop.END: "stop",
    Stop.SEQUENCE: "stop",
    Stop.TOOLS: "stop",
    Stop.LENGTH: "length",
    Stop.REFUSED: "content_filter",
}


def read(document: dict[str, Any]) -> list[Piece]:
    """Return the pieces of a whole response."""
    pieces = list(OllamaStreamReader().read(document))
    if pieces and isinstance(pieces[-1], (MessageEnd, MessageFailed)):
        return pieces
    return [broken_off()]


class OllamaStreamReader:
    """Stream reader for response lines."""

    def __init__(self) -> None:
        self._splitter = LineSplitter()
        self._content = Content()
        self._calls = Calls()
        self._count = 0
        self._began = False
        self._strange = False
        """True if a line was skipped."""
        self._over = False

    def feed(self, data: bytes) -> Sequence[Piece]:
        """Return the pieces that are complete."""
        if self._over:
            return []
        pieces: list[Piece] = []
        try:
            self._read_all(self._splitter.feed(data), pieces)
        except LineTooLong as exc:
            self._read_all(exc.lines, pieces)
            if not self._over:
                self._over = True
                pieces.append(MessageFailed(UpstreamInvalidResponse(str(exc))))
        return pieces

    def flush(self) -> Sequence[Piece]:
        """Return the rest: the last line may lack a line end."""
        pieces: list[Piece] = []
        last = self._splitter.flush()
        if not self._over and parsed(last) is not None:
            self._read_all([last], pieces)
        if not self._over:
            self._over = True
            if self._strange and not self._began:
                pieces.append(MessageFailed(UpstreamInvalidResponse("no line of a chat")))
            else:
                pieces.append(broken_off())
        return pieces

    def read(self, document: dict[str, Any]) -> Sequence[Piece]:
        """Return the pieces of one line."""
        if document.get("error"):
            self._over = True
            return [MessageFailed(backend_errors.of_event(document))]
        pieces: list[Piece] = []
        if not self._began:
            self._began = True
            pieces.append(MessageStart(text_in(document, "model")))
        message = document.get("message")
        if not isinstance(message, dict):
            message = {"content": document.get("response"), "thinking": document.get("thinking")}
        self._message(message, pieces)
        if document.get("done") is True:
            self._content.finish(pieces)
            self._calls.finish(pieces)
            pieces.append(UsageUpdate(reported_usage(document) or Usage(0, 0)))
            pieces += stopped(
                document.get("done_reason") or "",
                _STOPS,
                "",
                said=self._content.any,
                called=bool(self._calls),
            )
            if not isinstance(pieces[-1], MessageFailed):
                pieces.append(MessageEnd())
            self._over = True
        return pieces

    def _read_all(self, lines: Iterable[bytes], pieces: list[Piece]) -> None:
        for line in lines:
            if self._over or not line.strip():
                continue
            document = parsed(line)
            if document is not None:
                pieces += self.read(document)
            elif line.lstrip().startswith(b"{"):
                # Fail on a damaged line: without it the answer would be a different one.
                self._over = True
                pieces.append(MessageFailed(UpstreamInvalidResponse("a line that is broken JSON")))
            else:
                self._strange = True
                pieces.append(Skipped(Skip.EVENT))

    def _message(self, message: dict[str, Any], pieces: list[Piece]) -> None:
        self._content.think(message.get("thinking"), pieces)
        self._content.say(message.get("content"), pieces)
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._count += 1
                self._calls.read(self._count, call, pieces)
            elif call is not None:
                pieces.append(Skipped(Skip.CALL))


# -- writing ---------------------------------------------------------------------------------------


Shape = Callable[[dict[str, Any]], dict[str, Any]]
"""Function that places the fields of a message in a response line."""


def chat(message: dict[str, Any]) -> dict[str, Any]:
    """Place a message as /api/chat does."""
    return {"message": {"role": "assistant", **message}}


def generate(message: dict[str, Any]) -> dict[str, Any]:
    """Place a message as /api/generate does."""
    rest = {key: value for key, value in message.items() if key != "content"}
    return {"response": message["content"], **rest}


def write(answer: CompleteAnswer, context: WriterContext, shape: Shape) -> bytes:
    """Return the body of a whole response. Raise UpstreamInvalidResponse for invalid arguments."""
    message: dict[str, Any] = {"content": answer.text}
    if answer.thinking:
        message["thinking"] = answer.thinking
    if answer.calls:
        message["tool_calls"] = [_written_call(call, answer.stopped) for call in answer.calls]
    document = {
        **_head(answer.model, context),
        **shape(message),
        **_end(answer.stopped, answer.tokens),
    }
    return orjson.dumps(document)


class OllamaStreamWriter:
    """Stream writer for response lines."""

    def __init__(self, context: WriterContext, shape: Shape) -> None:
        self._context = context
        self._shape = shape
        self._head: dict[str, Any] = {}
        self._tokens: Usage | None = None
        self._stopped = ContentEnd(Stop.END)
        self._calls: list[Call] = []

    def write(self, piece: Piece) -> bytes:
        """Return the encoded piece, if it produces a line.

        Raise UpstreamInvalidResponse if the arguments of a tool call are invalid.
        """
        match piece:
            case TextDelta(text):
                return self._said({"content": text})
            case ReasoningDelta(text):
                return self._said({"content": "", "thinking": text})
            case ToolCallStart(_, call_id, name):
                self._calls.append(Call(call_id, name))
            case ArgumentsDelta(index, text):
                self._calls[index].arguments += text
            case MessageStart(model):
                self._head = _head(model, self._context)
            case UsageUpdate(tokens):
                self._tokens = tokens
            case ContentEnd():
                self._stopped = piece
                if self._calls:
                    # The arguments are complete only now, and Ollama sends them as an object.
                    calls = [_written_call(call, piece) for call in self._calls]
                    return self._said({"content": "", "tool_calls": calls})
            case MessageEnd():
                end = _end(self._stopped, self._tokens)
                last = {**self._head, **self._shape({"content": ""}), **end}
                return orjson.dumps(last) + b"\n"
            case MessageFailed() | Skipped():
                pass
        return b""

    def _said(self, message: dict[str, Any]) -> bytes:
        line = {**self._head, **self._shape(message), "done": False}
        return orjson.dumps(line) + b"\n"


def _head(model: str, context: WriterContext) -> dict[str, Any]:
    created = datetime.fromtimestamp(context.now_s, UTC).isoformat().replace("+00:00", "Z")
    return {"model": context.model or model, "created_at": created}


def _end(stopped: ContentEnd, tokens: Usage | None) -> dict[str, Any]:
    end: dict[str, Any] = {"done": True, "done_reason": _WORDS[stopped.stop]}
    if tokens is not None:
        end |= {"prompt_eval_count": tokens.input, "eval_count": tokens.output}
    return end


def _written_call(call: Call, stopped: ContentEnd) -> dict[str, Any]:
    arguments = whole_arguments(call, stopped)
    written: dict[str, Any] = {"function": {"name": call.name, "arguments": arguments}}
    if call.id:
        written = {"id": call.id, **written}
    return written
