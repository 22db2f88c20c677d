"""Which header fields pass a proxy, which do not, and which it writes itself."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_KNOWN = 1000
_LONGEST_KNOWN = 64

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that mean one connection only (RFC 9110 section 7.6.1)."""

FORWARDING = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-forwarded-uri",
        b"x-original-uri",
        b"x-original-url",
        b"x-real-ip",
        b"x-rewrite-url",
        b"true-client-ip",
    }
)
"""Fields that claim who the client is or what it asked for: ours to say, not the client's."""

IDENTITY = frozenset({b"x-gateway-subject", b"x-gateway-tenant"})
"""Fields that tell the upstream who was authenticated."""

CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"cookie"})
"""Fields that carry the caller's credential to the gateway; the upstream's is put in instead."""

OURS = frozenset({b"host", b"content-length", b"expect", b"x-request-id"})
"""Fields the gateway writes itself on every upstream request, or answers itself."""

TRACING = frozenset({b"traceparent", b"tracestate", b"baggage"})
"""Fields that say which trace a request belongs to: ours to say, where requests are traced."""

ACCEPT_ENCODING = frozenset({b"accept-encoding"})
"""Dropped where the gateway has to read the response's body."""

CODED = frozenset(
    {b"content-encoding", b"content-md5", b"content-digest", b"repr-digest", b"digest"}
)
"""Fields that say something about a body's bytes, which are others once it was decoded."""

WEBSOCKET = frozenset(
    {
        b"origin",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
    }
)
"""Fields of a handshake: to the upstream goes one of our own, and its Origin was judged."""


class Passing:
    """Which of a client's header fields go on to an upstream.

    On the path of every field of every request, so that what was found of a name is looked up:
    `known` first, by whoever has many names, and `find` for what is not there.
    """

    __slots__ = ("_dropped", "known")

    def __init__(self, dropped: frozenset[bytes]) -> None:
        """`dropped` are names in lower case."""
        self._dropped = dropped
        self.known: dict[bytes, bool] = {}

    def find(self, name: bytes) -> bool:
        """Whether it passes. A name with an underscore does not: in CGI and WSGI it passes for the
        same name with a hyphen.
        """
        passes = name.lower() not in self._dropped and b"_" not in name
        if len(name) <= _LONGEST_KNOWN:
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()  # clients choose names; what they make us remember is bounded
            self.known[name] = passes
        return passes

    def less(self, more: frozenset[bytes]) -> Passing:
        """The same without these."""
        return Passing(self._dropped | more)


def connection_tokens(value: bytes) -> set[bytes]:
    """The lower-cased fields a Connection header nominates as hop-by-hop."""
    return {token.strip().lower() for token in value.split(b",")}


def lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """Header fields as they stand on the wire."""
    # A list: on the path of every response, and a generator costs twice as much.
    return "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("latin-1")


def checked_lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """The same of a middleware's making. Raise ValueError rather than split a response."""
    fields = list(fields)
    for name, value in fields:
        if any(c in name or c in value for c in "\r\n\0"):
            raise ValueError(f"a middleware put a line break into header {name!r}")
    return lines(fields)
