"""Chat completions in OpenAI's dialect, whole and as chunks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from gateway.dialects.translation import backend_errors
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
from gateway.errors import UpstreamInvalidResponse
from gateway.sse import EventSplitter, EventTooLarge

_STOPS = {
    "stop": Stop.END,
    "length": Stop.LENGTH,
    "tool_calls": Stop.TOOLS,
    "function_call": Stop.TOOLS,
    "content_filter": Stop.REFUSED,
    "model_length": Stop.LENGTH,  # Mistral
    "eos_token": Stop.END,  # TGI, and the next
    "stop_sequence": Stop.SEQUENCE,
}
_WORDS = {
    Stop.END: "stop",
    Stop.SEQUENCE: "stop",
    Stop.LENGTH: "length",
    Stop.TOOLS: "tool_calls",
    Stop.REFUSED: "content_filter",
}


def read(document: dict[str, Any]) -> list[Piece]:
    """The pieces of a whole answer."""
    if document.get("error"):
        return [Failed(backend_errors.of_event(document))]
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return [Failed(UpstreamInvalidResponse("no chat completion with one choice"))]
    pieces: list[Piece] = [Began(text_in(document, "model")), *_Delta().read(message)]
    pieces += _usage(document)
    pieces.append(_stopped(choice))
    return pieces


class Reader:
    """Of a stream."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._delta = _Delta()
        self._began = False
        self._stopped = False
        self._over = False

    def feed(self, data: bytes) -> Sequence[Piece]:
        """The pieces that are whole now."""
        if self._over:
            return ()
        pieces: list[Piece] = []
        try:
            events = self._splitter.feed(data)
        except EventTooLarge as exc:
            events = exc.events
            self._read_all([event.data for event in events], pieces)
            return self._end(pieces, Failed(UpstreamInvalidResponse(str(exc))))
        self._read_all([event.data for event in events], pieces)
        return pieces

    def flush(self) -> Sequence[Piece]:
        """The rest; a stream without [DONE] is complete if it said why it stopped."""
        if self._over:
            return ()
        return self._end([], Ended() if self._stopped else broken_off())

    def _end(self, pieces: list[Piece], last: Piece) -> list[Piece]:
        self._over = True
        pieces.append(last)
        return pieces

    def _read_all(self, events: Iterable[bytes | None], pieces: list[Piece]) -> None:
        for data in events:
            if data is None or self._over:
                continue
            if data == b"[DONE]":
                self._end(pieces, Ended() if self._stopped else broken_off())
                continue
            self._read(data, pieces)

    def _read(self, data: bytes, pieces: list[Piece]) -> None:
        document = parsed(data)
        if document is None:
            self._end(pieces, Failed(UpstreamInvalidResponse("an event that is no JSON object")))
            return
        if document.get("error"):
            self._end(pieces, Failed(backend_errors.of_event(document)))
            return
        choices = document.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, dict):
            if not self._began:  # Azure's first chunk, without choices, does not name the model
                self._began = True
                pieces.append(Began(text_in(document, "model")))
            delta = choice.get("delta")
            if isinstance(delta, dict):
                pieces += self._delta.read(delta)
            if choice.get("finish_reason") and not self._stopped:  # some say "" until then
                stopped = _stopped(choice)
                pieces.append(stopped)
                self._stopped = True
                self._over = isinstance(stopped, Failed)
        if "usage" in document:
            pieces += _usage(document)


class _Delta:
    """What a message or a piece of one says; calls are numbered as they come."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[int, str]] = {}
        """Number and id of the last call, by the backend's index."""
        self._count = 0

    def read(self, delta: dict[str, Any]) -> list[Piece]:
        pieces: list[Piece] = []
        thought = text_in(delta, "reasoning_content") or text_in(delta, "reasoning")
        if thought:
            pieces.append(Thought(thought))
        text = text_in(delta, "content") or text_in(delta, "refusal")
        if text:
            pieces.append(Said(text))
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for position, call in enumerate(calls):
                if isinstance(call, dict):
                    self._call(position, call, pieces)
        return pieces

    def _call(self, position: int, call: dict[str, Any], pieces: list[Piece]) -> None:
        index = call.get("index")
        if not isinstance(index, int):
            index = position
        function = object_in(call, "function")
        name, call_id = text_in(function, "name"), text_in(call, "id")
        known = self._calls.get(index)
        # Some backends give every call the index 0, and tell them apart by their ids.
        if known is None or (name and call_id and call_id != known[1]):
            known = self._calls[index] = (self._count, call_id)
            self._count += 1
            pieces.append(Called(known[0], call_id, name))
        arguments = text_in(function, "arguments")
        if arguments:
            pieces.append(Argued(known[0], arguments))


def _stopped(choice: dict[str, Any]) -> Piece:
    stop = _STOPS.get(text_in(choice, "finish_reason"))
    if stop is None:
        # `abort`, `error`: it is not complete.
        return Failed(UpstreamInvalidResponse("an unknown finish_reason"))
    sequence = text_in(choice, "stop_reason")  # vLLM tells which one it met
    return Stopped(Stop.SEQUENCE, sequence) if sequence else Stopped(stop)


def _usage(document: dict[str, Any]) -> list[Piece]:
    said = document.get("usage")
    if not isinstance(said, dict):
        return []
    tokens = Tokens(
        count(said, "prompt_tokens"),
        count(said, "completion_tokens"),
        cached=count(object_in(said, "prompt_tokens_details"), "cached_tokens"),
        reasoning=count(object_in(said, "completion_tokens_details"), "reasoning_tokens"),
    )
    return [Used(tokens)]


# -- writing ---------------------------------------------------------------------------------------


def write(answer: Whole, telling: Telling) -> bytes:
    """The body of a whole answer."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text if answer.text or not answer.calls else None,
        "refusal": None,
    }
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": call.id or _call_id(telling, index),
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
        "id": f"chatcmpl-{telling.request_id}",
        "object": "chat.completion",
        "created": int(telling.now_s),
        "model": answer.model,
        "choices": [choice],
    }
    if answer.tokens is not None:
        body["usage"] = _written_usage(answer.tokens)
    return orjson.dumps(body)


class Writer:
    """Of a stream."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._before = b""
        """What stands before the delta of every chunk."""
        self._tokens: Tokens | None = None
        self._calls = 0
        self._argued = True
        """Whether the last call has arguments."""

    def write(self, piece: Piece) -> bytes:
        """The bytes it is. Raise UpstreamInvalidResponse if it cannot be told."""
        match piece:
            case Said(text):
                return self._chunk({"content": text})
            case Argued(index, text):
                self._argued = True
                call: dict[str, Any] = {"index": index, "function": {"arguments": text}}
                return self._chunk({"tool_calls": [call]})
            case Thought(text):
                return self._chunk({"reasoning_content": text})
            case Began(model):
                head = {
                    "id": f"chatcmpl-{self._telling.request_id}",
                    "object": "chat.completion.chunk",
                    "created": int(self._telling.now_s),
                    "model": model,
                }
                start = orjson.dumps(head)[:-1]
                self._before = b'data: %b,"choices":[{"index":0,"delta":' % start
                return self._chunk({"role": "assistant", "content": ""})
            case Called(index, call_id, name):
                before = self._arguments()
                self._calls, self._argued = index + 1, False
                call = {
                    "index": index,
                    "id": call_id or _call_id(self._telling, index),
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                }
                return before + self._chunk({"tool_calls": [call]})
            case Stopped():
                word = _word(piece, calls=self._calls > 0)
                return self._arguments() + self._chunk({}, b'"%b"' % word.encode())
            case Used(tokens):
                self._tokens = tokens
                return b""
            case Ended():
                return self._usage() + b"data: [DONE]\n\n"
            case Failed():
                return b""

    def _arguments(self) -> bytes:
        """An empty object of them, if the last call had none: callers parse what is there."""
        if self._argued:
            return b""
        self._argued = True
        call = {"index": self._calls - 1, "function": {"arguments": "{}"}}
        return self._chunk({"tool_calls": [call]})

    def _chunk(self, delta: dict[str, Any], finish: bytes = b"null") -> bytes:
        return b'%b%b,"logprobs":null,"finish_reason":%b}]}\n\n' % (
            self._before,
            orjson.dumps(delta),
            finish,
        )

    def _usage(self) -> bytes:
        if self._tokens is None or not self._telling.include_usage:
            return b""
        start = self._before[: self._before.index(b',"choices":')]
        usage = orjson.dumps(_written_usage(self._tokens))
        return b'%b,"choices":[],"usage":%b}\n\n' % (start, usage)


def _word(stopped: Stopped, *, calls: bool) -> str:
    return "tool_calls" if calls and stopped.stop is Stop.END else _WORDS[stopped.stop]


def _call_id(telling: Telling, index: int) -> str:
    return f"call_{telling.request_id}_{index}"


def _written_usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }
