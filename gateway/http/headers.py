"""Header fields by treatment: those a proxy forwards, drops, or writes itself."""

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
"""Fields that apply to one connection only (RFC 9110 section 7.6.1)."""

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
"""Fields about the client and its request, which only the gateway may set."""

IDENTITY = frozenset({b"x-gateway-subject", b"x-gateway-tenant"})
"""Fields that tell the upstream who was authenticated."""

CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"cookie"})
"""Fields with the caller's credential for the gateway; replaced by the upstream's credential."""

OURS = frozenset({b"host", b"content-length", b"expect", b"x-gateway-publish", b"x-request-id"})
"""Fields that the gateway writes on every upstream request, or handles itself."""

TRACING = frozenset({b"traceparent", b"tracestate", b"baggage"})
"""Fields that assign a request to a trace: set by the gateway if requests are traced."""

ACCEPT_ENCODING = frozenset({b"accept-encoding"})
"""Dropped if the gateway has to read the response body."""

CODED = frozenset(
    {b"content-encoding", b"content-md5", b"content-digest", b"repr-digest", b"digest"}
)
"""Fields that describe the bytes of a body, and are wrong once it is decoded."""

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
"""Handshake fields: the gateway makes its own with the upstream, and has checked Origin."""


class HeaderFilter:
    """Filter of the client's header fields that go to an upstream.

    Runs for every field of every request, so results are cached by name: look in `known` first, and
    call `find` for a missing name.
    """

    __slots__ = ("_dropped", "known")

    def __init__(self, dropped: frozenset[bytes]) -> None:
        """`dropped` are names in lower case."""
        self._dropped = dropped
        self.known: dict[bytes, bool] = {}

    def find(self, name: bytes) -> bool:
        """Tell whether a field passes. A name with an underscore does not: CGI and WSGI confuse it
        with the same name with a hyphen.
        """
        passes = name.lower() not in self._dropped and b"_" not in name
        if len(name) <= _LONGEST_KNOWN:
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()  # clients choose the names, so the cache is bounded
            self.known[name] = passes
        return passes

    def less(self, more: frozenset[bytes]) -> HeaderFilter:
        """Return a filter that drops these names as well."""
        return HeaderFilter(self._dropped | more)


def connection_tokens(value: bytes) -> set[bytes]:
    """Return the lower-case field names that a Connection header nominates as hop-by-hop."""
    return {token.strip().lower() for token in value.split(b",")}


def lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return header fields as bytes for the wire."""
    # A list: this runs for every response, and a generator costs twice as much.
    return "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("latin-1")


def checked_lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return header fields set by a middleware as bytes for the wire. Raise ValueError for a line
    break or NUL, which would split the response.
    """
    fields = list(fields)
    rendered = lines(fields)
    count = len(fields)
    if b"\0" in rendered or rendered.count(b"\n") != count or rendered.count(b"\r") != count:
        bad = [name for name, value in fields if any(c in name or c in value for c in "\r\n\0")]
        raise ValueError(f"a middleware put a line break into header {bad[0]!r}")
    return rendered
