"""Heads that a client repeats.

Most clients send the same head again and again on a connection, with another Content-Length. It
takes a third of the time of a bare request to parse it, to find its route, and to filter its fields
for the upstream. A connection therefore remembers its last plain head. The next one is served from
it if its bytes are the same except for the digits of Content-Length; every other head is parsed.
"""

from __future__ import annotations

import re

from aiohttp import HttpVersion11
from aiohttp.hdrs import CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE

from gateway.aiohttp_adaptor import RawRequestMessage

LONGEST_BYTES = 4096
"""Size up to which a head is remembered."""
_END = b"\r\n\r\n"
_MOST_DIGITS = 15
_MOST_LINES = 8
_LENGTH = re.compile(rb"\r\nContent-Length: ?([0-9]{1,15})(?=\r\n)", re.IGNORECASE)
_ODD = (CONTENT_ENCODING, EXPECT, TRANSFER_ENCODING, UPGRADE)
"""Fields that make a head something else than plain, whatever their values."""


class KnownHead:
    """A parsed head, and what was found out from it alone.

    The message has the Content-Length of the first request. Take the length of a later one from
    `match`.
    """

    __slots__ = ("_after", "_before", "caller", "lines", "message", "routing")

    def __init__(self, message: RawRequestMessage, before: bytes, after: bytes) -> None:
        self.message = message
        self.routing: object = None
        """Result of request matching, by whoever made it; it is valid for the connection only."""
        self.caller: object = None
        """Result of authentication, by whoever made it."""
        self._before, self._after = before, after
        self.lines: dict[object, bytes] = {}
        """Header lines for upstreams, by whatever else they depend on; see `keep_lines`."""

    @classmethod
    def of(cls, head: bytes, message: RawRequestMessage) -> KnownHead | None:
        """Return the head to remember; None if it is not plain. `head` are its bytes, from the
        request line to the blank line.
        """
        headers = message.headers
        if (
            len(head) > LONGEST_BYTES
            or not head.endswith(_END)
            or message.version is not HttpVersion11
            or message.should_close
            or message.upgrade
            or message.method == "CONNECT"
            or any(name in headers for name in _ODD)
        ):
            return None
        if CONTENT_LENGTH not in headers:
            return cls(message, head, b"")
        found = _LENGTH.findall(head)
        if len(found) != 1 or headers.getall(CONTENT_LENGTH) != [found[0].decode()]:
            return None
        at, end = next(_LENGTH.finditer(head)).span(1)
        return cls(message, head[:at], head[end:])

    def match(self, data: bytes) -> tuple[int, int] | None:
        """Return where the head at the beginning of `data` ends, and its Content-Length, 0 if it
        has none. None if it is another head, or not complete.
        """
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        at = len(before)
        if not after:
            return at, 0
        end = data.find(b"\r", at, at + _MOST_DIGITS + 1)
        digits = data[at:end]
        # isdigit of bytes knows ASCII digits only.
        if end < 0 or not digits.isdigit() or not data.startswith(after, end):
            return None
        return end + len(after), int(digits)

    def keep_lines(self, key: object, lines: bytes) -> None:
        """Keep header lines for the next request with this head."""
        if len(self.lines) >= _MOST_LINES:
            self.lines.clear()
        self.lines[key] = lines
