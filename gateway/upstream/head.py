"""Response heads: framing, connection fields, and the fields to forward. No I/O."""

from __future__ import annotations

import re

from gateway.http.headers import HOP_BY_HOP, connection_tokens
from gateway.sse import is_event_stream

RawHeader = tuple[bytes, bytes]


class InvalidHead(Exception):
    """The head violates HTTP or exceeds one of our limits."""


_PLAIN, _DROPPED, _CONTENT_LENGTH, _CONTENT_TYPE, _TRANSFER_ENCODING, _CONNECTION = range(6)
_CACHE_CONTROL, _SERVER, _ACCEL, _CONTENT_ENCODING, _UPGRADE, _LOCATION, _QUOTA = range(6, 13)
LOCATIONS = frozenset({b"location", b"content-location", b"operation-location"})
"""Fields that contain one URI reference. Operation-Location is Azure's."""
_QUOTAS = (b"x-ratelimit-", b"anthropic-ratelimit-")
_NOTABLE: dict[bytes, int] = {
    **dict.fromkeys(HOP_BY_HOP, _DROPPED),
    b"x-request-id": _DROPPED,  # every response carries the gateway's own
    b"content-length": _CONTENT_LENGTH,
    b"content-type": _CONTENT_TYPE,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"connection": _CONNECTION,
    b"cache-control": _CACHE_CONTROL,
    b"content-encoding": _CONTENT_ENCODING,
    b"server": _SERVER,
    b"x-accel-buffering": _ACCEL,
    b"upgrade": _UPGRADE,
    **dict.fromkeys(LOCATIONS, _LOCATION),
}
_MOST_KNOWN = 1000
_LONGEST_KNOWN = 64
_MOST_HEADS = 256
LONGEST_HEAD_BYTES = 1024
"""Size up to which a head is remembered."""
_REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_NEVER_NOMINATED = frozenset({b"close", b"keep-alive", b"content-length", b"content-type"})


class ResponseHead:
    """Status line and the header fields to forward. Framing and connection fields are left out.

    Equal heads may share one object, so it does not change after it is made.
    """

    __slots__ = (
        "accel",
        "cacheable",
        "chunked",
        "content_length",
        "content_type",
        "counted",
        "encoded",
        "fields",
        "is_event_stream",
        "is_legible_stream",
        "located",
        "reason",
        "rendered",
        "server",
        "status",
        "tells_quota",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, raw: list[RawHeader], version: str) -> None:
        """Raise InvalidHead if the framing is ambiguous (RFC 9112 section 6.3)."""
        if version != "1.1" and version != "1.0":
            raise InvalidHead(f"HTTP version {version}")
        if reason != b"OK" and not _REASON.fullmatch(reason):
            raise InvalidHead("control characters in the reason phrase")
        self.status = status
        self.reason = reason
        self.chunked = False
        self.content_length: int | None = None
        self.content_type = b""
        self.counted = False
        """True if the body need only be counted: it has a length, and the connection stays open
        after it. Set when the parser has seen the whole head.
        """
        self.rendered: dict[object, bytes] = {}
        """Lines that whoever sends this head has made, by what else they depend on."""
        self.cacheable = False
        """True if the upstream sent Cache-Control."""
        self.encoded = False
        """True if the body has a content coding, such as compression."""
        self.server: bytes | None = None
        self.accel: bytes | None = None
        """Value of X-Accel-Buffering, which controls buffering in nginx."""
        self.located = False
        """True if one of the `LOCATIONS` is among the fields."""
        self.tells_quota = False
        """True if the fields say what is left of a quota: see `gateway/upstream/quota.py`."""
        self.upgrade: bytes | None = None
        """Value of the Upgrade field: the protocol to which the upstream switches."""
        self.fields: list[RawHeader] = []
        nominated: set[bytes] | None = None
        known, fields = _known.get, self.fields
        for field in raw:
            what = known(field[0])
            if what is None:
                what = _find(field[0])
            if not what:  # _PLAIN
                fields.append(field)
            elif what == _CONTENT_LENGTH:
                self.content_length = int(field[1])
                if status != 204:  # a 204 must not have one (RFC 9110 section 8.6)
                    fields.append(field)
            elif what == _CONTENT_TYPE:
                self.content_type = field[1]
                fields.append(field)
            elif what == _CACHE_CONTROL:
                self.cacheable = True
                fields.append(field)
            elif what == _CONTENT_ENCODING:
                self.encoded = True
                fields.append(field)
            elif what == _SERVER:
                self.server = field[1]
            elif what == _CONNECTION:
                nominated = (nominated or set()) | connection_tokens(field[1])
            elif what == _TRANSFER_ENCODING:
                # Any other coding than chunked would have to be decoded here (RFC 9112 section 7).
                # No model server sends one.
                if self.chunked or field[1].strip().lower() != b"chunked" or version != "1.1":
                    raise InvalidHead("transfer-encoding is not exactly chunked")
                self.chunked = True
            elif what == _ACCEL:
                self.accel = field[1]
            elif what == _UPGRADE:
                self.upgrade = field[1]
            elif what == _LOCATION:
                self.located = True
                fields.append(field)
            elif what == _QUOTA:
                self.tells_quota = True
                fields.append(field)
        self.is_event_stream = is_event_stream(self.content_type)
        """True if the body is an event stream."""
        self.is_legible_stream = (
            self.is_event_stream and self.content_length is None and not self.encoded
        )
        """True if it is one without a length or a content coding."""
        if status == 101 and (
            nominated is None or b"upgrade" not in nominated or self.chunked or self.content_length
        ):
            raise InvalidHead("101 without Connection: upgrade, or with a body")
        if nominated is not None:
            nominated -= _NEVER_NOMINATED
            if nominated:
                self.fields = [f for f in fields if f[0].lower() not in nominated]

    def lines(self) -> bytes:
        """Return `fields` as bytes for the wire."""
        return b"".join([b"%b: %b\r\n" % field for field in self.fields])


def _find(name: bytes) -> int:
    """Return the kind of a field by its name as sent. The spelling is cached."""
    folded = name.lower()
    what = _QUOTA if folded.startswith(_QUOTAS) else _NOTABLE.get(folded, _PLAIN)
    if len(name) <= _LONGEST_KNOWN:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[name] = what
    return what


_known: dict[bytes, int] = {}


def remember(block: bytes, head: ResponseHead) -> None:
    """Remember the head that was parsed from these bytes, if it has status 200. They are no whole
    head if it did not arrive in one piece.
    """
    if block.startswith(b"HTTP/1.1 200 ") and block.endswith(b"\r\n\r\n"):
        if len(KNOWN_HEADS) >= _MOST_HEADS:
            KNOWN_HEADS.clear()
        KNOWN_HEADS[block] = head


KNOWN_HEADS: dict[bytes, ResponseHead] = {}
"""Heads by their bytes. A model server sends the same head to most requests for as long as the Date
field is the same. So a head is found here in less time than its fields are parsed.
"""
