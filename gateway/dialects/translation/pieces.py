"""Dialect-neutral pieces of a response, which stream readers produce and stream writers encode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from gateway.errors import GatewayError, UpstreamReset
from gateway.usage import Usage


class Stop(Enum):
    """Reason why the model stopped."""

    END = "end"
    LENGTH = "length"
    SEQUENCE = "sequence"
    TOOLS = "tools"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class MessageStart:
    """Start of the response."""

    model: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Response text, or a part of it."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """Reasoning text, or a part of it. Writers omit it if the caller does not want it."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """Start of a tool call; its arguments follow. `id` is empty if the dialect has none."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """Part of the arguments of a call, as JSON text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class UsageUpdate:
    """Token usage so far."""

    tokens: Usage


@dataclass(frozen=True, slots=True)
class ContentEnd:
    """End of the content, with its reason."""

    stop: Stop
    sequence: str | None = None
    """Stop sequence that was met, if the backend reports it."""


class Skip(Enum):
    """Kind of response content that was left out as untranslatable. Used as a metric label."""

    EVENT = "event"
    """Event that is no JSON object, or has an unknown type."""
    PART = "part"
    """Part of the content, or block, of an unknown type."""
    FIELD = "field"
    """Unknown field of a delta or message that is not empty."""
    CALL = "call"
    """Tool call without a name, or part of a call that never began."""
    STOP = "stop"
    """Unknown stop reason; reported as a normal end."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Note that content was left out. It is counted in metrics and written to no stream."""

    what: Skip


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """End of a complete response."""


@dataclass(frozen=True, slots=True)
class MessageFailed:
    """End of a response that is incomplete. No piece follows."""

    error: GatewayError


Piece = (
    MessageStart
    | TextDelta
    | ReasoningDelta
    | ToolCallStart
    | ArgumentsDelta
    | UsageUpdate
    | ContentEnd
    | Skipped
    | MessageEnd
    | MessageFailed
)


class StreamReader(Protocol):
    """Decoder of a backend's stream into pieces. The pieces do not depend on how it is chunked.

    Both methods raise orjson.JSONEncodeError for a value that is nested too deeply to be encoded
    again.
    """

    def feed(self, data: bytes) -> Sequence[Piece]:
        """Return the pieces that are complete."""

    def flush(self) -> Sequence[Piece]:
        """Return the rest after the stream has ended normally: Failed, if it is incomplete."""


class StreamWriter(Protocol):
    """Encoder of pieces into the caller's stream."""

    def write(self, piece: Piece) -> bytes:
        """Return the encoded piece; no bytes for Failed.

        Raise UpstreamInvalidResponse if the caller's dialect cannot express it.
        """


@dataclass(frozen=True, slots=True)
class WriterContext:
    """Data about the exchange that a writer needs."""

    request_id: str
    now_s: float
    """Current time in seconds since the epoch."""
    include_usage: bool = True
    include_thinking: bool = True
    model: str = ""
    """Model name to report instead of the backend's; empty for the backend's."""
    counted: bool = False
    """The gateway reads the usage in the translated stream, whether or not the client asked."""
    input_estimate: int = 0
    """Estimated input tokens, for a writer that reports them before the backend does."""


@dataclass(slots=True)
class Call:
    """Complete tool call."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class CompleteAnswer:
    """Complete response."""

    model: str = ""
    text: str = ""
    thinking: str = ""
    calls: list[Call] = field(default_factory=list)
    tokens: Usage | None = None
    stopped: ContentEnd = field(default_factory=lambda: ContentEnd(Stop.END))
    skipped: list[Skip] = field(default_factory=list)


def whole(pieces: Iterable[Piece]) -> CompleteAnswer:
    """Combine the pieces of a response. Raise the error of a Failed piece."""
    answer = CompleteAnswer()
    for piece in pieces:
        match piece:
            case MessageStart(model):
                answer.model = model
            case TextDelta(text):
                answer.text += text
            case ReasoningDelta(text):
                answer.thinking += text
            case ToolCallStart(_, name=name, id=call_id):
                answer.calls.append(Call(call_id, name))
            case ArgumentsDelta(index, text):
                answer.calls[index].arguments += text
            case UsageUpdate(tokens):
                answer.tokens = tokens
            case ContentEnd():
                answer.stopped = piece
            case Skipped(what):
                answer.skipped.append(what)
            case MessageFailed(error):
                raise error
            case MessageEnd():
                pass
    return answer


def broken_off() -> MessageFailed:
    """Return the failure for a stream that ended before the response was complete."""
    return MessageFailed(UpstreamReset("the stream ended before the answer was complete"))
