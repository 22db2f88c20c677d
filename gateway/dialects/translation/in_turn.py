"""Reorder pieces of a stream so that the arguments of each tool call are contiguous.

OpenAI's stream may interleave parallel calls; Anthropic's sends them block by block. The first call
passes without delay. Pieces that would come between its arguments wait until these are complete.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.dialects.translation.pieces import (
    ArgumentsDelta,
    ContentEnd,
    MessageEnd,
    Piece,
    ReasoningDelta,
    TextDelta,
    ToolCallStart,
)


class InTurn:
    """Reordering buffer for one stream."""

    __slots__ = ("_arguments", "_open", "_waiting")

    def __init__(self) -> None:
        self._open: int | None = None
        """Index of the call whose arguments pass without delay, or None."""
        self._arguments: list[str] = []
        """Arguments of that call so far."""
        self._waiting: list[Piece] = []

    def feed(self, piece: Piece) -> Sequence[Piece]:
        """Return the pieces to send next. Waiting pieces come before the end of the response."""
        match piece:
            case ArgumentsDelta(index, text):
                if self._open == index:
                    self._arguments.append(text)
                    return (piece,)
                self._waiting.append(piece)
                return ()
            case TextDelta() | ReasoningDelta() | ToolCallStart():
                if self._open is None:
                    return self._begin(piece)
                if self._waiting or not self._whole():
                    self._waiting.append(piece)
                    return ()
                self._open = None
                return self._begin(piece)
            case ContentEnd() | MessageEnd() if self._waiting:
                return (*self._in_order(), piece)
        return (piece,)

    def _begin(self, piece: Piece) -> Sequence[Piece]:
        if isinstance(piece, ToolCallStart):
            self._open = piece.index
            self._arguments.clear()
        return (piece,)

    def _whole(self) -> bool:
        try:
            return isinstance(orjson.loads("".join(self._arguments)), dict)
        except orjson.JSONDecodeError:
            return False

    def _in_order(self) -> list[Piece]:
        """Return the waiting pieces: the rest of the open call, then the others in order."""
        waiting, self._waiting = self._waiting, []
        arguments: dict[int, list[Piece]] = {}
        for piece in waiting:
            if isinstance(piece, ArgumentsDelta):
                arguments.setdefault(piece.index, []).append(piece)
        ordered: list[Piece] = []
        for piece in waiting:
            if isinstance(piece, ToolCallStart):
                ordered += [piece, *arguments.pop(piece.index, ())]
                self._open = piece.index
            elif not isinstance(piece, ArgumentsDelta):
                ordered.append(piece)
        # Arguments left here came late: those before them had seemed complete.
        left = [piece for late in arguments.values() for piece in late]
        return [
            *(one for one in left if isinstance(one, ArgumentsDelta) and one.text.strip()),
            *ordered,
        ]
