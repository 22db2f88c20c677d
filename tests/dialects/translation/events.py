"""Events of backends' streams, and what an answer says."""

from __future__ import annotations

import json
from typing import Any

from gateway.dialects.translation.pieces import (
    CompleteAnswer,
    Piece,
    Skip,
    Skipped,
    Stop,
)


def said(answer: CompleteAnswer) -> tuple[str, str, list[tuple[str, Any]], Stop]:
    """Return reasoning, text, calls with their arguments, and the reason to stop."""
    calls = [(call.name, json.loads(call.arguments)) for call in answer.calls]
    return answer.thinking, answer.text, calls, answer.stopped.stop


def skips(pieces: list[Piece]) -> list[Skip]:
    """Return what the reader left out."""
    return [piece.what for piece in pieces if isinstance(piece, Skipped)]


def chunk(delta: Any, finish: str | None = None, **choice: Any) -> bytes:
    """Return an event of OpenAI's stream."""
    document = {"model": "m", "choices": [{"delta": delta, "finish_reason": finish, **choice}]}
    return b"data: %b\n\n" % json.dumps(document).encode()


def call_chunk(finish: str | None = None, **call: Any) -> bytes:
    """Return an event of OpenAI's stream with a part of a call."""
    return chunk({"tool_calls": [call]}, finish)


DONE = chunk({}, "tool_calls") + b"data: [DONE]\n\n"
"""End of OpenAI's stream with a call."""
BEGIN = b'data: {"type":"message_start","message":{"model":"m"}}\n\n'
"""Start of Anthropic's stream."""
END = (
    b'data: {"type":"message_delta","delta":{"stop_reason":"tool_use"}}\n\n'
    b'data: {"type":"message_stop"}\n\n'
)
"""End of Anthropic's stream with a call."""


TEXT = "Let me look that up: ☀."
THOUGHT = "Two questions, two tools."
CALLS = [("get_weather", {"city": "Paris"}), ("get_time", {"zone": "CET"})]


def facts(answer: CompleteAnswer) -> tuple[Any, ...]:
    """Return what every dialect can say of an answer."""
    calls = [(call.name, json.loads(call.arguments or "{}")) for call in answer.calls]
    tokens = answer.tokens
    return (
        answer.text,
        answer.thinking,
        calls,
        answer.stopped.stop,
        tokens and (tokens.input, tokens.output),
    )


FACTS = (TEXT, THOUGHT, CALLS, Stop.TOOLS, (120, 42))
