"""White space at the end of a prefill, which Anthropic refuses: taken off, and not said twice."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.dialects.translation.conversation import Conversation, Role, text_of
from gateway.dialects.translation.pieces import Piece, Said, StreamReader


def ends_in_space(asked: Conversation) -> bool:
    """Whether the answer is to go on behind white space."""
    last = asked.messages[-1] if asked.messages else None
    return last is not None and last.role is Role.ASSISTANT and text_of(last.parts)[-1:].isspace()


def without_space(pieces: Sequence[Piece]) -> tuple[list[Piece], bool]:
    """The pieces without white space before the first text, and whether that has come."""
    kept: list[Piece] = []
    for at, piece in enumerate(pieces):
        if not isinstance(piece, Said):
            kept.append(piece)
        elif text := piece.text.lstrip():
            return [*kept, Said(text), *pieces[at + 1 :]], True
    return kept, False


class TrimmedReader:
    """Of a stream that goes on behind white space."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._begun = False

    def feed(self, data: bytes) -> Sequence[Piece]:
        """The pieces that are whole now."""
        return self._trimmed(self._reader.feed(data))

    def flush(self) -> Sequence[Piece]:
        """The rest."""
        return self._trimmed(self._reader.flush())

    def _trimmed(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        if not self._begun:
            pieces, self._begun = without_space(pieces)
        return pieces
