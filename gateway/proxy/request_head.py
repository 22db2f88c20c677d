"""Request head as sent to an upstream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp.hdrs import CONNECTION, HOST

from gateway.dialects.translation.translation import Path
from gateway.http.headers import CODED, WEBSOCKET, HeaderFilter, connection_tokens
from gateway.request import Request
from gateway.routing.target import Target
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.head import RawHeader

LARGE_BYTES = 16 * 1024
"""Above this size, copying a body behind its head takes longer than another call to write it."""
_CONNECTION_OPTIONS = {b"close", b"keep-alive", b"upgrade", b"te"}


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Path and headers of a translated request, in place of the client's own."""

    path: Path
    """Path without a query."""
    lines: bytes
    """Header lines."""


def request_head(
    request: Request,
    target: Target,
    endpoint: Endpoint,
    body: bytes | None,
    strip: int,
    rewrite: Rewrite | None = None,
    attempt: int = 1,
) -> bytes:
    """Return the request line, the client's headers without those it must not set, and the
    gateway's headers; and the body, if it is in memory and has at most `LARGE_BYTES`.

    `body` is None if it is not in memory. `strip` is the length in characters of the path prefix
    that belongs to the route and is not forwarded. `attempt` is the number of this attempt.
    """
    exchange = request.exchange
    if exchange.tap is None and exchange.early is None and not exchange.streamed:
        header_filter = target.header_filter
    else:
        # In a compressed response, tokens could not be counted and no event could be inserted.
        header_filter = target.filter_to_read
    session = exchange.session
    if session is not None:
        header_filter = header_filter.less(WEBSOCKET)
    if exchange.decoded:
        header_filter = header_filter.less(CODED)
    known = request.known
    if known is None or rewrite is not None:
        first = _repeated(request, target, endpoint, header_filter, strip, rewrite)
    else:
        key = endpoint, header_filter, exchange.query
        kept = known.lines.get(key)
        if kept is None:
            kept = _repeated(request, target, endpoint, header_filter, strip)
            known.keep_lines(key, kept)
        first = kept
    parts = [first, exchange.id_line]
    if exchange.principal is not None:
        parts.append(exchange.principal.headers)
    if exchange.trace is not None:
        parts.append(exchange.trace.header_lines(attempt))
    if session is not None:
        parts.append(session.opening.lines + b"\r\n")
    elif body is not None:
        size = len(body)
        parts.append(b"Content-Length: %d\r\n\r\n" % size)
        if size <= LARGE_BYTES:
            parts.append(body)
    elif request.body_exists and request.content_length is None:
        parts.append(b"Transfer-Encoding: chunked\r\n\r\n")
    elif request.content_length is not None:
        parts.append(b"Content-Length: %d\r\n\r\n" % request.content_length)
    else:
        parts.append(b"\r\n")
    return b"".join(parts)


def _repeated(
    request: Request,
    target: Target,
    endpoint: Endpoint,
    header_filter: HeaderFilter,
    strip: int,
    rewrite: Rewrite | None = None,
) -> bytes:
    """Return the lines that are the same for every request with this head: the request line, the
    gateway's fixed headers, and the client's that pass.
    """
    exchange, message = request.exchange, request.message
    if rewrite is not None:
        path = rewrite.path.at(endpoint.base)
    else:
        path = endpoint.base + (exchange.path[strip:] if strip else exchange.path) or "/"
        if exchange.query:
            path = f"{path}?{exchange.query}"
    parts = [
        f"{exchange.method} {path} HTTP/1.1\r\n".encode("latin-1"),
        endpoint.fixed_lines,
        b"Host: %b\r\n" % message.headers[HOST].encode("latin-1") if target.keeps_host else b"",
        exchange.forwarded,
    ]
    if rewrite is not None:
        parts.append(rewrite.lines)
    fields: Sequence[RawHeader] = message.raw_headers
    if CONNECTION in message.headers:
        fields = _without_nominated(fields)
    known = header_filter.known.get
    for name, value in fields:
        passes = known(name)
        if passes is None:
            passes = header_filter.find(name)
        if passes:
            parts += (name, b": ", value, b"\r\n")
    return b"".join(parts)


def _without_nominated(fields: Sequence[RawHeader]) -> Sequence[RawHeader]:
    """Return the fields without those that the Connection header nominates as hop-by-hop."""
    nominated: set[bytes] = set()
    for name, value in fields:
        if name.lower() == b"connection":
            nominated |= connection_tokens(value)
    if nominated <= _CONNECTION_OPTIONS:
        return fields
    return [field for field in fields if field[0].lower() not in nominated]
