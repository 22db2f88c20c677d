"""Translate a backend's stop reason."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.dialects.translation.pieces import (
    ContentEnd,
    MessageFailed,
    Piece,
    Skip,
    Skipped,
    Stop,
)
from gateway.errors import UpstreamInvalidResponse

_INCOMPLETE = frozenset(
    {
        "abort",
        "cancelled",
        "error",
        "insufficient_system_resource",  # DeepSeek
        "load",  # Ollama loaded the model and generated nothing
        "malformed_function_call",  # Gemini
        "network_error",  # Zhipu
        "pause_turn",  # Anthropic's server-side tools are not finished
        "timeout",
        "unload",
    }
)
"""Stop reasons of an incomplete response."""


def is_incomplete(word: object) -> bool:
    """True if the stop reason means that the response is incomplete."""
    return isinstance(word, str) and word.lower() in _INCOMPLETE


def stopped(
    word: object, known: Mapping[str, Stop], sequence: str, *, said: bool, called: bool
) -> list[Piece]:
    """Return the pieces for a stop reason.

    A response with an unknown reason ends normally if it has content, and fails if it has none. A
    response without a reason fails.

    `sequence` is the stop sequence that was met, if the backend reports it. `said` is True if the
    response has text or reasoning, `called` if it has tool calls.
    """
    text = word if isinstance(word, str) else ""
    stop = known.get(text)
    pieces: list[Piece] = []
    if stop is None:
        if not word or is_incomplete(word) or not (said or called):
            return [MessageFailed(UpstreamInvalidResponse("an unknown reason to stop"))]
        pieces.append(Skipped(Skip.STOP))
        stop = Stop.END
    if sequence and stop is Stop.END:
        stop = Stop.SEQUENCE
    if called and stop in (Stop.END, Stop.SEQUENCE):
        stop = Stop.TOOLS
    elif stop is Stop.TOOLS and not called:
        stop = Stop.END
    return [*pieces, ContentEnd(stop, sequence or None if stop is Stop.SEQUENCE else None)]
