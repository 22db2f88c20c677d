"""Pieces put in an order in which the arguments of each call stand together.

OpenAI's stream may tell parallel calls in turns; Anthropic's tells them block by block. The first
call passes as it comes. What would come between its arguments waits until they are whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.dialects.translation.pieces import (
    Argued,
    Called,
    Ended,
    Piece,
    Said,
    Stopped,
    Thought,
)


class InTurn:
    """The order of one stream."""

    __slots__ = ("_arguments", "_open", "_waiting")

    def __init__(self) -> None:
        self._open: int | None = None
        """The call whose arguments pass."""
        self._arguments: list[str] = []
        """All of them so far."""
        self._waiting: list[Piece] = []

    def feed(self, piece: Piece) -> Sequence[Piece]:
        """What comes next. Everything that waits comes before the end of the answer."""
        match piece:
            case Argued(index, text):
                if self._open == index:
                    self._arguments.append(text)
                    return (piece,)
                self._waiting.append(piece)
                return ()
            case Said() | Thought() | Called():
                if self._open is None:
                    return self._begin(piece)
                if self._waiting or not self._whole():
                    self._waiting.append(piece)
                    return ()
                self._open = None
                return self._begin(piece)
            case Stopped() | Ended() if self._waiting:
                return (*self._in_order(), piece)
        return (piece,)

    def _begin(self, piece: Piece) -> Sequence[Piece]:
        if isinstance(piece, Called):
            self._open = piece.index
            self._arguments.clear()
        return (piece,)

    def _whole(self) -> bool:
        try:
            return isinstance(orjson.loads("".join(self._arguments)), dict)
        except orjson.JSONDecodeError:
            return False

    def _in_order(self) -> list[Piece]:
        """All that waits: first the rest of the open call, then the others, each with its own."""
        waiting, self._waiting = self._waiting, []
        arguments: dict[int, list[Piece]] = {}
        for piece in waiting:
            if isinstance(piece, Argued):
                arguments.setdefault(piece.index, []).append(piece)
        ordered: list[Piece] = []
        for piece in waiting:
            if isinstance(piece, Called):
                ordered += [piece, *arguments.pop(piece.index, ())]
                self._open = piece.index
            elif not isinstance(piece, Argued):
                ordered.append(piece)
        # What is left came late, behind arguments that seemed to be whole.
        left = [piece for late in arguments.values() for piece in late]
        return [*(one for one in left if isinstance(one, Argued) and one.text.strip()), *ordered]
