"""Read and write chat completions in OpenAI's dialect, whole or as chunks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from gateway.dialects.translation import backend_errors
from gateway.dialects.translation.calls import Calls
from gateway.dialects.translation.content import Content
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
from gateway.dialects.translation.values import parsed, text_in
from gateway.dialects.usage import reported_usage
from gateway.errors import UpstreamInvalidResponse
from gateway.sse import Event, EventSplitter, EventTooLarge
from gateway.usage import Usage

_STOPS = {
    "stop": Stop.END,
    "length": Stop.LENGTH,
    "tool_calls": Stop.TOOLS,
    "function_call": Stop.TOOLS,
    "content_filter": Stop.REFUSED,
    "model_length": Stop.LENGTH,  # Mistral
    "eos_token": Stop.END,  # TGI, also the next entry
    "stop_sequence": Stop.SEQUENCE,
}
_WORDS = {
    Stop.END: "stop",
    Stop.SEQUENCE: "stop",
    Stop.LENGTH: "length",
    Stop.TOOLS: "tool_calls",
    Stop.REFUSED: "content_filter",
}
_KNOWN = frozenset(
    {
        "content",
        "function_call",
        "name",
        "provider_specific_fields",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "refusal",
        "role",
        "thinking_blocks",
        "token_ids",
        "tool_call_id",
        "tool_calls",
    }
)
"""Fields of messages and deltas that are read, or that add nothing to those."""
_KEEP_ALIVES = frozenset({b"ping", b"heartbeat", b"keepalive", b"keep-alive"})


def read(document: dict[str, Any]) -> list[Piece]:
    """Return the pieces of a whole response."""
    if backend_errors.is_error(document):
        return [MessageFailed(backend_errors.of_event(document))]
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return [MessageFailed(UpstreamInvalidResponse("no chat completion with one choice"))]
    pieces: list[Piece] = [MessageStart(text_in(document, "model"))]
    delta = _Delta()
    delta.read(message, pieces)
    delta.finish(pieces)
    pieces += _usage(document)
    if not choice.get("finish_reason") and delta.any:
        choice["finish_reason"] = "stop"  # the backend sends no reason at all
    pieces += delta.stopped(choice)
    return pieces


class OpenAIStreamReader:
    """Stream reader for chat completion chunks."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._delta = _Delta()
        self._began = False
        self._stopped: dict[str, Any] | None = None
        """Choice with the stop reason, or None."""
        self._strange = False
        """True if an event was skipped."""
        self._over = False

    def feed(self, data: bytes) -> Sequence[Piece]:
        """Return the pieces that are complete."""
        if self._over:
            return ()
        pieces: list[Piece] = []
        try:
            events = self._splitter.feed(data)
        except EventTooLarge as exc:
            self._read_all(exc.events, pieces)
            if not self._over:
                self._end(pieces, MessageFailed(UpstreamInvalidResponse(str(exc))))
            return pieces
        self._read_all(events, pieces)
        return pieces

    def flush(self) -> Sequence[Piece]:
        """Return the rest. A stream without [DONE] is complete if it has sent a stop reason."""
        pieces: list[Piece] = []
        if not self._over:
            if self._strange and not self._began:
                self._end(
                    pieces, MessageFailed(UpstreamInvalidResponse("no event of a chat completion"))
                )
            else:
                self._finish(pieces)
        return pieces

    def _skip(self, pieces: list[Piece]) -> None:
        self._strange = True
        pieces.append(Skipped(Skip.EVENT))

    def _end(self, pieces: list[Piece], last: Piece) -> None:
        self._over = True
        pieces.append(last)

    def _read_all(self, events: Iterable[Event], pieces: list[Piece]) -> None:
        for event in events:
            data = event.data
            if not data or self._over:
                continue
            if data.strip() == b"[DONE]":
                self._done(pieces)
            else:
                self._read(event, data, pieces)

    def _done(self, pieces: list[Piece]) -> None:
        if self._stopped is None and self._delta.any:
            # Some backends never send a stop reason; [DONE] marks the end.
            self._stopped = {"finish_reason": "stop"}
        self._finish(pieces)

    def _finish(self, pieces: list[Piece]) -> None:
        if self._stopped is None:
            self._end(pieces, broken_off())
            return
        self._delta.finish(pieces)
        pieces += self._delta.stopped(self._stopped)
        self._over = True
        if not isinstance(pieces[-1], MessageFailed):
            pieces.append(MessageEnd())

    def _read(self, event: Event, data: bytes, pieces: list[Piece]) -> None:
        document = parsed(data)
        if document is None:
            if data.lstrip().startswith(b"{") and self._stopped is None:
                # Fail on a damaged event: without it the answer would be a different one.
                self._end(
                    pieces, MessageFailed(UpstreamInvalidResponse("an event that is broken JSON"))
                )
            elif data.strip():
                self._skip(pieces)
            return
        if backend_errors.is_error(document) or event.type == b"error":
            self._end(pieces, MessageFailed(backend_errors.of_event(document)))
            return
        choices = document.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, dict):
            if not self._began:  # Azure's first chunk has no choices and no model name
                self._began = True
                pieces.append(MessageStart(text_in(document, "model")))
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._delta.read(delta, pieces)
            elif isinstance(message := choice.get("message"), dict) and not self._delta.any:
                self._delta.read(message, pieces)  # a whole response in one event
            if choice.get("finish_reason"):  # some backends send "" before the end
                self._stop(choice, pieces)
        elif choices is None and "usage" not in document and _says_something(document, event):
            self._skip(pieces)
        if "usage" in document or "x_groq" in document:
            pieces += _usage(document)

    def _stop(self, choice: dict[str, Any], pieces: list[Piece]) -> None:
        """Record a stop reason.

        Some backends send one in every event, so more may follow, and the last is not always the
        best: only `stop` and unknown reasons are replaced by a later one.
        """
        word = choice["finish_reason"]
        if self._stopped is None:
            self._stopped = choice
            if is_incomplete(word):
                self._finish(pieces)
        elif _is_known(word):
            before = self._stopped["finish_reason"]
            if before == "stop" or not _is_known(before):
                self._stopped = choice


def _is_known(word: object) -> bool:
    return isinstance(word, str) and word in _STOPS


def _says_something(document: dict[str, Any], event: Event) -> bool:
    kind = document.get("type")
    if event.type in _KEEP_ALIVES or (isinstance(kind, str) and kind.encode() in _KEEP_ALIVES):
        return False
    return any(document.values())


class _Delta:
    """Reader for a message, whole or in deltas."""

    def __init__(self) -> None:
        self._content = Content()
        self._calls = Calls()

    @property
    def any(self) -> bool:
        """True once there was any content or tool call."""
        return self._content.any or bool(self._calls)

    def read(self, delta: dict[str, Any], pieces: list[Piece]) -> None:
        if not _KNOWN.issuperset(delta) and any(
            delta[key] for key in delta.keys() - _KNOWN if delta[key] != []
        ):
            pieces.append(Skipped(Skip.FIELD))
        content = self._content
        content.think(delta.get("reasoning_content") or delta.get("reasoning"), pieces)
        content.say(delta.get("content"), pieces)
        content.say(delta.get("refusal"), pieces)
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for position, call in enumerate(calls):
                if isinstance(call, dict):
                    index = call.get("index")
                    self._calls.read(index if isinstance(index, int) else position, call, pieces)
                elif call is not None:
                    pieces.append(Skipped(Skip.CALL))
        call = delta.get("function_call")  # predecessor of tool_calls
        if isinstance(call, dict):
            self._calls.read("function_call", call, pieces)

    def finish(self, pieces: list[Piece]) -> None:
        self._content.finish(pieces)
        self._calls.finish(pieces)

    def stopped(self, choice: dict[str, Any]) -> list[Piece]:
        return stopped(
            choice.get("finish_reason"),
            _STOPS,
            text_in(choice, "stop_reason"),  # vLLM reports the stop sequence here
            said=self._content.any,
            called=bool(self._calls),
        )


def _usage(document: dict[str, Any]) -> list[Piece]:
    tokens = reported_usage(document)
    if tokens is None and isinstance(document.get("usage"), dict):
        tokens = Usage(0, 0)
    return [] if tokens is None else [UsageUpdate(tokens)]


# -- writing ---------------------------------------------------------------------------------------


def write(answer: CompleteAnswer, context: WriterContext) -> bytes:
    """Return the body of a whole response."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text if answer.text or not answer.calls else None,
        "refusal": None,
    }
    if answer.thinking and context.include_thinking:
        message["reasoning_content"] = answer.thinking
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": call.id or _call_id(context, index),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for index, call in enumerate(answer.calls)
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _word(answer.stopped, calls=bool(answer.calls)),
    }
    body = {
        "id": f"chatcmpl-{context.request_id}",
        "object": "chat.completion",
        "created": int(context.now_s),
        "model": context.model or answer.model,
        "choices": [choice],
    }
    if answer.tokens is not None:
        body["usage"] = _written_usage(answer.tokens)
    return orjson.dumps(body)


class OpenAIStreamWriter:
    """Stream writer for chat completion chunks."""

    def __init__(self, context: WriterContext) -> None:
        self._context = context
        self._before = b""
        """Bytes that precede the delta in every chunk."""
        self._tokens: Usage | None = None
        self._calls = 0
        self._empty: set[int] = set()
        """Indexes of calls without arguments so far."""

    def write(self, piece: Piece) -> bytes:
        """Return the encoded piece; no bytes for Failed."""
        match piece:
            case TextDelta(text):
                return self._chunk({"content": text})
            case ArgumentsDelta(index, text):
                self._empty.discard(index)
                call: dict[str, Any] = {"index": index, "function": {"arguments": text}}
                return self._chunk({"tool_calls": [call]})
            case ReasoningDelta(text):
                if not self._context.include_thinking:
                    return b""
                return self._chunk({"reasoning_content": text})
            case MessageStart(model):
                head = {
                    "id": f"chatcmpl-{self._context.request_id}",
                    "object": "chat.completion.chunk",
                    "created": int(self._context.now_s),
                    "model": self._context.model or model,
                }
                start = orjson.dumps(head)[:-1]
                self._before = b'data: %b,"choices":[{"index":0,"delta":' % start
                return self._chunk({"role": "assistant", "content": ""})
            case ToolCallStart(index, call_id, name):
                self._calls += 1
                self._empty.add(index)
                call = {
                    "index": index,
                    "id": call_id or _call_id(self._context, index),
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                }
                return self._chunk({"tool_calls": [call]})
            case ContentEnd():
                word = _word(piece, calls=self._calls > 0)
                return self._arguments() + self._chunk({}, b'"%b"' % word.encode())
            case UsageUpdate(tokens):
                self._tokens = tokens
                return b""
            case MessageEnd():
                return self._usage() + b"data: [DONE]\n\n"
            case MessageFailed() | Skipped():
                return b""

    def _arguments(self) -> bytes:
        """Return a chunk with `{}` for each call without arguments: callers parse arguments."""
        if not self._empty:
            return b""
        calls = [{"index": at, "function": {"arguments": "{}"}} for at in sorted(self._empty)]
        return self._chunk({"tool_calls": calls})

    def _chunk(self, delta: dict[str, Any], finish: bytes = b"null") -> bytes:
        return b'%b%b,"logprobs":null,"finish_reason":%b}]}\n\n' % (
            self._before,
            orjson.dumps(delta),
            finish,
        )

    def _usage(self) -> bytes:
        if self._tokens is None or not self._context.include_usage:
            return b""
        start = self._before[: self._before.index(b',"choices":')]
        usage = orjson.dumps(_written_usage(self._tokens))
        return b'%b,"choices":[],"usage":%b}\n\n' % (start, usage)


def _word(stopped: ContentEnd, *, calls: bool) -> str:
    return "tool_calls" if calls and stopped.stop is Stop.END else _WORDS[stopped.stop]


def _call_id(context: WriterContext, index: int) -> str:
    return f"call_{context.request_id}_{index}"


def _written_usage(tokens: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }
