"""Prompt and answer of one request, captured for the prompt audit while the request is served."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

_ROOM_BYTES = 32 * 1024
"""Bytes of an answer that are kept as they arrive. More are compressed: an event contains little
text.
"""
_PIECE_BYTES = 128
"""Memory that a piece takes besides its bytes."""
_LEVEL, _WINDOW_BITS, _MEMORY_LEVEL = 1, 12, 5
"""Compression that is fast, and takes 32 KiB for each answer in progress."""


class CapturedPrompt:
    """Body of a request, and a copy of its answer. Of the answer, `cap_bytes` are kept."""

    __slots__ = (
        "_cap",
        "_packed",
        "_packer",
        "_pieces",
        "_room",
        "answer_bytes",
        "answer_coding",
        "answer_type",
        "body",
        "coding",
        "content_type",
        "copies",
        "is_streamed",
        "left_out",
        "replays",
    )

    def __init__(self, cap_bytes: int) -> None:
        self.body: bytes | None = None
        """Body of the request, as the hooks left it; None if it is not kept."""
        self.content_type = ""
        self.coding = ""
        """Content coding of the body."""
        self.left_out: str | None = None
        """Reason for which the body of the request is not kept."""
        self.answer_type = ""
        """Content type of the answer; empty if none is kept."""
        self.answer_coding = ""
        """Content coding of the answer."""
        self.is_streamed = False
        self.answer_bytes = 0
        """Size of the answer, whatever is kept of it."""
        self.replays: str | None = None
        """Digest of the kept stream that is sent instead of an answer of its own."""
        self.copies: Sequence[tuple[str, str]] = ()
        """Models that copies of the request were sent to, and the ids of the copies."""
        self._cap = cap_bytes
        self._room = _ROOM_BYTES
        self._pieces: list[bytes] = []
        self._packer: zlib._Compress | None = None
        self._packed = bytearray()

    def feed(self, data: bytes) -> None:
        """Copy a piece of the answer. Runs for every event."""
        self._pieces.append(data)
        self._room -= len(data) + _PIECE_BYTES
        if self._room < 0:
            self._pack()

    @property
    def size_bytes(self) -> int:
        """Memory that body and answer take, about."""
        body = 0 if self.body is None else len(self.body)
        return body + len(self._packed) + _ROOM_BYTES - self._room

    def answer(self) -> tuple[bytes, bool]:
        """Return what is kept of the answer, and True if that is not all. Nothing may be fed
        afterwards.
        """
        self._pack()
        if self._packer is None:
            return b"", bool(self.answer_bytes)
        packed = bytes(self._packed) + self._packer.flush()
        kept = zlib.decompress(packed, -_WINDOW_BITS)
        return kept, len(kept) < self.answer_bytes

    def _pack(self) -> None:
        pieces, self._pieces = self._pieces, []
        self._room = _ROOM_BYTES
        data = b"".join(pieces)
        left = self._cap - self.answer_bytes
        self.answer_bytes += len(data)
        if left > 0 and data:
            if self._packer is None:
                self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -_WINDOW_BITS, _MEMORY_LEVEL)
            self._packed += self._packer.compress(data[:left])
