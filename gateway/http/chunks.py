"""Chunked transfer coding of HTTP/1.1 (RFC 9112 section 7.1), writing only."""

from __future__ import annotations

LAST_CHUNK = b"0\r\n\r\n"
"""Last chunk, which ends a body. No trailers."""


SMALL_BYTES = 4 * 1024
SIZE_LINES = tuple(b"%x\r\n" % size for size in range(SMALL_BYTES))
"""First lines of smaller chunks: to format one takes longer than all else that a chunk needs."""


def chunk(data: bytes) -> bytes:
    """Return the chunk that carries `data`, which must not be empty: that would end the body."""
    size = len(data)
    line = SIZE_LINES[size] if size < SMALL_BYTES else b"%x\r\n" % size
    return b"".join((line, data, b"\r\n"))
