"""The chunked coding of HTTP/1.1 (RFC 9112 section 7.1), as it is written."""

from __future__ import annotations

LAST_CHUNK = b"0\r\n\r\n"
"""What ends a body. No trailers."""


def chunk(data: bytes) -> bytes:
    """The chunk that carries `data`, which has to be something: an empty one would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
