"""The fixtures, and how they are read and written: shared by the tests of translation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.dialects import DIALECTS, Dialect
from gateway.dialects.translation.conversation import Conversation
from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.pieces import (
    CompleteAnswer,
    Piece,
    Stop,
    StreamReader,
    StreamWriter,
    WriterContext,
    whole,
)
from gateway.sse import is_event_stream

FIXTURES = Path(__file__).parents[1] / "fixtures"
CONTEXT = WriterContext("r1", 1_700_000_000.0)


PARIS = ("get_weather", {"city": "Paris"})
TIME = ("get_time", {"zone": "CET"})
SHAPES: dict[str, tuple[str, str, list[tuple[str, dict[str, str]]], Stop]] = {
    "openai/magistral-parts.sse": ("Two and two.", "It is four.", [], Stop.END),
    "openai/name-after-the-first-delta.sse": ("", "", [PARIS], Stop.TOOLS),
    "openai/interleaved-calls.sse": ("", "", [PARIS, TIME], Stop.TOOLS),
    "openai/gemini-calls-without-ids.sse": ("", "", [PARIS, TIME], Stop.TOOLS),
    "openai/vllm-stop-reason.sse": ("", "", [PARIS], Stop.TOOLS),
    "openai/null-as-text.sse": ("", "", [PARIS], Stop.TOOLS),
    "openai/function-call.sse": ("", "", [PARIS], Stop.TOOLS),
    "openai/keep-alives.sse": ("", "Four.", [], Stop.END),
    "openai/half-an-emoji.sse": ("", "Hi \U0001f600!", [], Stop.END),
    "anthropic/input-in-the-start.sse": ("", "", [PARIS], Stop.TOOLS),
    "anthropic/input-in-the-start-and-again.sse": ("", "", [PARIS], Stop.TOOLS),
    "anthropic/keep-alives.sse": ("", "Four.", [], Stop.END),
    "ollama/arguments-as-text.ndjson": ("", "", [PARIS, TIME], Stop.TOOLS),
    "ollama/keep-alives.ndjson": ("", "Four.", [], Stop.END),
}
"""Streams as backends send them: thoughts, text, calls, and the reason to stop of each."""


@dataclass(frozen=True)
class Side:
    """The chat of one dialect: its first endpoint for callers, and its backend's."""

    stream: str
    read: Callable[[dict[str, Any]], Conversation]
    write: Callable[[Conversation, TranslationOptions], dict[str, Any]]
    read_answer: Callable[[dict[str, Any]], list[Piece]]
    write_answer: Callable[[CompleteAnswer, WriterContext], bytes]
    reader: Callable[[], StreamReader]
    writer: Callable[[WriterContext], StreamWriter]


def _side(dialect: Dialect) -> Side:
    chat, backend = next(iter(dialect.chats.values())), dialect.chat_backend
    suffix = "sse" if is_event_stream(dialect.stream_type) else "ndjson"
    return Side(
        f"{dialect.name}.{suffix}",
        chat.read,
        backend.write,
        backend.read,
        chat.write,
        backend.reader,
        chat.writer,
    )


SIDES = {name: _side(dialect) for name, dialect in DIALECTS.items()}
NAMES = tuple(SIDES)
PAIRS = tuple((one, other) for one in NAMES for other in NAMES if one != other)


def stream_of(name: str) -> bytes:
    return (FIXTURES / SIDES[name].stream).read_bytes()


def answer_of(name: str) -> Any:
    return orjson.loads((FIXTURES / f"{name}.json").read_bytes())


def pieces_of(name: str, parts: Iterable[bytes]) -> list[Piece]:
    """What a reader makes of a stream that comes in these parts."""
    reader = SIDES[name].reader()
    pieces = [piece for part in parts for piece in reader.feed(part)]
    return [*pieces, *reader.flush()]


def told(name: str, pieces: Iterable[Piece]) -> bytes:
    writer = SIDES[name].writer(CONTEXT)
    return b"".join(writer.write(piece) for piece in pieces)


def heard(name: str, stream: bytes) -> CompleteAnswer:
    return whole(pieces_of(name, [stream]))
