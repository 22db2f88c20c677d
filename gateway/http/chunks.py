"""Chunked transfer coding of HTTP/1.1 (RFC 9112 section 7.1), writing only."""

from __future__ import annotations

LAST_CHUNK = b"0\r\n\r\n"
"""Last chunk, which ends a body. No trailers."""


def chunk(data: bytes) -> bytes:
    """Return the chunk that carries `data`, which must not be empty: that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
