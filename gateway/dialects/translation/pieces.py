"""An answer in no dialect, piece by piece: what readers hear and writers say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from gateway.errors import GatewayError, UpstreamReset


class Stop(Enum):
    """Why the model stopped."""

    END = "end"
    LENGTH = "length"
    SEQUENCE = "sequence"
    TOOLS = "tools"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What was used."""

    input: int
    """With what came from a cache or went into one."""
    output: int
    cached: int = 0
    written: int = 0
    """Into the cache."""
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Began:
    """The answer has begun."""

    model: str


@dataclass(frozen=True, slots=True)
class Said:
    """Text."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """What it thinks, for whoever wants to see it."""

    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a tool begins; its arguments follow. `id` is empty where the dialect has none."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Argued:
    """A piece of the arguments of a call, as JSON text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Used:
    """What it has used so far."""

    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing more will be said."""

    stop: Stop
    sequence: str | None = None
    """The stop sequence that was met, if that was told."""


class Skip(Enum):
    """What of an answer could not be translated and was left out. A label of a metric."""

    EVENT = "event"
    """An event that is no JSON object, or of an unknown type."""
    PART = "part"
    """A part of the content, or a block, of an unknown type."""
    FIELD = "field"
    """An unknown field of a delta or a message that holds something."""
    CALL = "call"
    """A call of a tool without a name, or a part of a call that never began."""
    STOP = "stop"
    """An unknown reason to stop; told as the usual one."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something was left out. It is counted, and written in no stream."""

    what: Skip


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is complete."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer ends here, and is not complete. Nothing follows."""

    error: GatewayError


Piece = Began | Said | Thought | Called | Argued | Used | Stopped | Skipped | Ended | Failed


class StreamReader(Protocol):
    """Makes pieces of a backend's stream. What they are does not depend on how it is cut.

    Both raise orjson.JSONEncodeError for what is nested too deeply to be written again.
    """

    def feed(self, data: bytes) -> Sequence[Piece]:
        """The pieces that are whole now."""

    def flush(self) -> Sequence[Piece]:
        """The rest, at the clean end of the stream: Failed, if the answer was not complete."""


class StreamWriter(Protocol):
    """Makes a caller's stream of pieces."""

    def write(self, piece: Piece) -> bytes:
        """The bytes it is, none for Failed. Raise UpstreamInvalidResponse if it cannot be told."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What a writer is told of the exchange."""

    request_id: str
    now_s: float
    """Seconds since the epoch."""
    include_usage: bool = True
    include_thinking: bool = True
    model: str = ""
    """The model name to tell instead of the backend's; empty: the backend's."""
    input_estimate: int = 0
    """Tokens of the request, for a writer that tells them before the backend does."""


@dataclass(slots=True)
class Call:
    """A whole call of a tool."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class Whole:
    """A whole answer."""

    model: str = ""
    text: str = ""
    thinking: str = ""
    calls: list[Call] = field(default_factory=list)
    tokens: Tokens | None = None
    stopped: Stopped = field(default_factory=lambda: Stopped(Stop.END))
    skipped: list[Skip] = field(default_factory=list)


def whole(pieces: Iterable[Piece]) -> Whole:
    """All pieces of a complete answer, together. Raise what made it fail."""
    answer = Whole()
    for piece in pieces:
        match piece:
            case Began(model):
                answer.model = model
            case Said(text):
                answer.text += text
            case Thought(text):
                answer.thinking += text
            case Called(_, name=name, id=call_id):
                answer.calls.append(Call(call_id, name))
            case Argued(index, text):
                answer.calls[index].arguments += text
            case Used(tokens):
                answer.tokens = tokens
            case Stopped():
                answer.stopped = piece
            case Skipped(what):
                answer.skipped.append(what)
            case Failed(error):
                raise error
            case Ended():
                pass
    return answer


def broken_off() -> Failed:
    """For a stream that ended before its answer did, however cleanly."""
    return Failed(UpstreamReset("the stream ended before the answer was complete"))
