"""Why an answer stopped, in a word of the backend's."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.dialects.translation.pieces import Failed, Piece, Skip, Skipped, Stop, Stopped
from gateway.errors import UpstreamInvalidResponse

_INCOMPLETE = frozenset(
    {
        "abort",
        "cancelled",
        "error",
        "insufficient_system_resource",  # DeepSeek
        "load",  # Ollama loaded the model, and answered nothing
        "malformed_function_call",  # Gemini
        "network_error",  # Zhipu
        "pause_turn",  # Anthropic's own tools want to go on
        "timeout",
        "unload",
    }
)
"""Words that say the answer is not complete."""


def is_incomplete(word: object) -> bool:
    """Whether a word says that the answer is not complete."""
    return isinstance(word, str) and word.lower() in _INCOMPLETE


def stopped(
    word: object, known: Mapping[str, Stop], sequence: str, *, said: bool, called: bool
) -> list[Piece]:
    """What a word means. An unknown word ends an answer as usual, but fails one without content.
    Without any word the answer has failed.

    `sequence` is the stop sequence that was met, if the backend tells it. `said`, `called`: whether
    the answer has any text or thoughts, or any calls.
    """
    text = word if isinstance(word, str) else ""
    stop = known.get(text)
    pieces: list[Piece] = []
    if stop is None:
        if not word or is_incomplete(word) or not (said or called):
            return [Failed(UpstreamInvalidResponse("an unknown reason to stop"))]
        pieces.append(Skipped(Skip.STOP))
        stop = Stop.END
    if sequence and stop is Stop.END:
        stop = Stop.SEQUENCE
    if called and stop in (Stop.END, Stop.SEQUENCE):
        stop = Stop.TOOLS
    elif stop is Stop.TOOLS and not called:
        stop = Stop.END
    return [*pieces, Stopped(stop, sequence or None if stop is Stop.SEQUENCE else None)]
