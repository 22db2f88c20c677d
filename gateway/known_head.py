"""Heads that a client repeats.

Most clients send the same head again and again, with another Content-Length. It takes a third of
the time of a bare request to parse it, to find its route, and to filter its fields for the
upstream. A worker therefore remembers the last plain heads of each client address, and a connection
the last one of its own. The next head is served from it if its bytes are the same except for the
digits of Content-Length; every other head is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from aiohttp import HttpVersion11
from aiohttp.hdrs import CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE

from gateway.aiohttp_adaptor import RawRequestMessage
from gateway.sse import accepts_only_events

LONGEST_BYTES = 4096
"""Size up to which a head is remembered."""
_END = b"\r\n\r\n"
_MOST_DIGITS = 15
_MOST_LINES = 8
_FIELDS = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
"""Spellings of Content-Length by clients that repeat their heads."""
_MOST_HEADS = 256
"""Number of heads that a worker always remembers; it remembers at most twice as many."""
_UNUSED_S = 60.0
"""Seconds after which a head that does not come again is forgotten at the earliest; twice that at
the latest.
"""
_LENGTH = re.compile(rb"\r\nContent-Length: ?([0-9]{1,15})(?=\r\n)", re.IGNORECASE)
_ODD = (CONTENT_ENCODING, EXPECT, TRANSFER_ENCODING, UPGRADE)
"""Fields that no plain head has, whatever their values."""


class KnownHead:
    """A parsed head, and the results that depend on it alone.

    The message has the Content-Length of the first request. That of a later one is the length of
    its body.
    """

    __slots__ = (
        "_after",
        "_before",
        "_length_at",
        "_length_end",
        "accepts_only_events",
        "caller",
        "lines",
        "message",
        "routing",
    )

    def __init__(self, message: RawRequestMessage, before: bytes, after: bytes) -> None:
        self.message = message
        self.routing: object = None
        """Result of request matching. Only the matcher that made it may use it."""
        self.caller: object = None
        """Result of authentication. Only the policy that made it may use it."""
        self.accepts_only_events = accepts_only_events(message.headers)
        self._before, self._after = before, after
        self._length_at = len(before)
        """Index of the first digit of Content-Length."""
        self._length_end = len(before) + _MOST_DIGITS
        """Index behind the last one, at the most."""
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

    def match(self, data: bytes) -> int | None:
        """Return where the body begins in `data`, one request with this head and its whole body.
        Return 0 if its body is longer or shorter; None if the head is another one, or not complete.
        """
        at, after = self._length_at, self._after
        # `startswith` would parse its arguments, which takes longer than to copy and compare.
        if data[:at] != self._before:
            return None
        if not after:
            return at if at == len(data) else 0
        digits = data[at : self._length_end].partition(b"\r")[0]
        at += len(digits)
        end = at + len(after)
        # isdigit of bytes knows ASCII digits only.
        if not digits.isdigit() or data[at:end] != after:
            return None
        return end if len(data) - end == int(digits) else 0

    def keep_lines(self, key: object, lines: bytes) -> None:
        """Keep header lines for the next request with this head."""
        if len(self.lines) >= _MOST_LINES:
            self.lines.clear()
        self.lines[key] = lines


PeerAddress = tuple[str, bool]
"""Address of a client, or of its proxy, and whether that is a trusted one."""
_Key = tuple[PeerAddress, bytes]


class KnownHeads:
    """Heads that the connections of a worker have in common. A head means the same for one peer."""

    __slots__ = ("_ages", "_call_later", "_latest", "_older")

    def __init__(self, call_later: Callable[[float, Callable[[], None]], object]) -> None:
        """`call_later` is that of the event loop."""
        self._call_later = call_later
        self._ages = False
        """True while a timer runs for `_age`."""
        self._latest: dict[_Key, KnownHead | tuple[bytes, RawRequestMessage] | None] = {}
        """Heads as they were parsed. When one comes again, it is replaced by what `KnownHead.of`
        makes of it.
        """
        self._older: dict[_Key, KnownHead | tuple[bytes, RawRequestMessage] | None] = {}
        """Heads to forget, unless they come again within a minute and before `_latest` is full."""

    def find(self, peer: PeerAddress, data: bytes) -> KnownHead | None:
        """Return the head that these bytes may begin with: `match` tells whether they do."""
        key = peer, _without_length(data)
        if key not in self._latest:
            if key not in self._older:
                return None
            self._keep(key, self._older[key])
        seen = self._latest[key]
        if type(seen) is tuple:
            seen = self._latest[key] = KnownHead.of(*seen)
        return seen  # type: ignore[return-value]

    def add(self, peer: PeerAddress, head: bytes, message: RawRequestMessage) -> None:
        """Remember a head that was parsed. `head` are its bytes, to the blank line."""
        key = peer, _without_length(head)
        if key[1] and key not in self._latest:
            self._keep(key, (head, message))

    def _keep(self, key: _Key, seen: KnownHead | tuple[bytes, RawRequestMessage] | None) -> None:
        if len(self._latest) >= _MOST_HEADS:
            self._latest, self._older = {}, self._latest
        self._latest[key] = seen
        if not self._ages:
            self._ages = True
            self._call_later(_UNUSED_S, self._age)

    def forget(self) -> None:
        """Forget all heads: they may mean something else from now on."""
        self._latest, self._older = {}, {}

    def _age(self) -> None:
        """Forget heads that have not come for a minute: most have a credential."""
        self._latest, self._older = {}, self._latest
        self._ages = bool(self._older)
        if self._ages:
            self._call_later(_UNUSED_S, self._age)


def _without_length(data: bytes) -> bytes:
    """Return the head at the beginning of `data` without the digits of its Content-Length; no bytes
    if it is incomplete or too long.
    """
    end = data.find(_END, 0, LONGEST_BYTES)
    if end < 0:
        return b""
    for field in _FIELDS:
        at = data.find(field, 0, end) + len(field)
        if at >= len(field):
            return data[:at] + data[data.find(b"\r", at) : end]
    return data[:end]
