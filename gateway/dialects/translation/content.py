"""Read the content of a response: a string, or a list of parts (Mistral's reasoning models)."""

from __future__ import annotations

from typing import Any

from gateway.dialects.translation.halves import Halves
from gateway.dialects.translation.pieces import Piece, ReasoningDelta, Skip, Skipped, TextDelta
from gateway.dialects.translation.values import text_in

_TEXTS = frozenset({"text", "output_text", "refusal"})
_THOUGHTS = frozenset({"thinking", "reasoning", "reasoning_text", "reasoning_content"})


class Content:
    """Reader for the text and reasoning of one response."""

    __slots__ = ("_said", "_thought", "any")

    def __init__(self) -> None:
        self._said, self._thought = Halves(), Halves()
        self.any = False
        """True once there was any text or reasoning."""

    def say(self, value: Any, pieces: list[Piece]) -> None:
        """Add text, given as a string or as a list of parts, to `pieces`."""
        if not value:
            return
        if isinstance(value, str):
            self.any = True
            text = self._said.feed(value)
            if text:
                pieces.append(TextDelta(text))
            return
        for part in value if isinstance(value, list) else [value]:
            self._part(part, pieces)

    def think(self, value: Any, pieces: list[Piece]) -> None:
        """Add reasoning, given as a string or as a list of parts, to `pieces`."""
        if not value:
            return
        if isinstance(value, str):
            self.any = True
            text = self._thought.feed(value)
            if text:
                pieces.append(ReasoningDelta(text))
            return
        for part in value if isinstance(value, list) else [value]:
            inside = part.get("text") if isinstance(part, dict) else part
            if isinstance(inside, str):
                self.think(inside, pieces)
            else:
                pieces.append(Skipped(Skip.PART))

    def finish(self, pieces: list[Piece]) -> None:
        """Add unfinished characters to `pieces` at the end of the response."""
        thought, said = self._thought.flush(), self._said.flush()
        if thought:
            pieces.append(ReasoningDelta(thought))
        if said:
            pieces.append(TextDelta(said))

    def _part(self, part: Any, pieces: list[Piece]) -> None:
        kind = (text_in(part, "type") or "text") if isinstance(part, dict) else ""
        if isinstance(part, str):
            self.say(part, pieces)
        elif kind in _TEXTS and isinstance(text := part.get(kind, part.get("text")), str):
            self.say(text, pieces)
        elif kind in _THOUGHTS:
            self.think(part.get(kind, part.get("text")), pieces)
        else:
            pieces.append(Skipped(Skip.PART))
