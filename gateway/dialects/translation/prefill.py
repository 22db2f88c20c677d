"""Handle white space at the end of a prefill, the start of an answer that the caller supplies.

Anthropic refuses such white space. It is removed from the request, and the white space with which
the answer then begins is dropped, so that the caller does not get it twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.dialects.translation.conversation import Conversation, Role, text_of
from gateway.dialects.translation.pieces import Piece, StreamReader, TextDelta


def ends_in_space(asked: Conversation) -> bool:
    """True if the last message is the assistant's and ends in white space."""
    last = asked.messages[-1] if asked.messages else None
    return last is not None and last.role is Role.ASSISTANT and text_of(last.parts)[-1:].isspace()


def without_space(pieces: Sequence[Piece]) -> tuple[list[Piece], bool]:
    """Remove white space before the first text. Return the pieces, and True if text has come."""
    kept: list[Piece] = []
    for at, piece in enumerate(pieces):
        if not isinstance(piece, TextDelta):
            kept.append(piece)
        elif text := piece.text.lstrip():
            return [*kept, TextDelta(text), *pieces[at + 1 :]], True
    return kept, False


class TrimmedReader:
    """Stream reader that removes white space before the first text."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._begun = False

    def feed(self, data: bytes) -> Sequence[Piece]:
        """Return the pieces that are complete."""
        return self._trimmed(self._reader.feed(data))

    def flush(self) -> Sequence[Piece]:
        """Return the remaining pieces."""
        return self._trimmed(self._reader.flush())

    def _trimmed(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        if not self._begun:
            pieces, self._begun = without_space(pieces)
        return pieces
