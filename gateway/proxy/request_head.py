"""The head of a request as an upstream gets it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.exchange import GatewayRequest
from gateway.headers import WEBSOCKET, connection_tokens
from gateway.proxy.resolve import Target
from gateway.upstream.endpoint import Endpoint

_CONNECTION_OPTIONS = {b"close", b"keep-alive", b"upgrade", b"te"}


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What a translated request says instead of the client's own."""

    path: str
    """Without a query."""
    lines: bytes
    """Header lines."""


def request_head(
    request: GatewayRequest,
    target: Target,
    endpoint: Endpoint,
    body: bytes | None,
    strip: int,
    rewrite: Rewrite | None = None,
    attempt: int = 1,
) -> bytes:
    """Request line and headers: the client's, without what is not its to say, and ours.

    `body` is None if it is not here yet; `strip` is the number of characters of the path that
    belong to the route and are not forwarded; `attempt` is the number of this attempt.
    """
    exchange = request.exchange
    # A compressed body could not be read for its tokens, and nothing could be said in it.
    legible = exchange.tap is not None or exchange.early is not None
    dropped = target.dropped_to_read if legible else target.dropped
    handshake = exchange.handshake
    if handshake is not None:
        dropped |= WEBSOCKET
    if rewrite is not None:
        path = rewrite.path
    else:
        path = exchange.path[strip:] if strip else exchange.path
        if exchange.query:
            path = f"{path}?{exchange.query}"
    parts = [
        b"%b %b%b HTTP/1.1\r\n%b%b%bX-Request-ID: %b\r\n%b"
        % (
            request.method.encode(),
            endpoint.base,
            path.encode("latin-1"),
            endpoint.fixed_lines,
            exchange.forwarded,
            exchange.principal.headers if exchange.principal is not None else b"",
            exchange.request_id.encode(),
            exchange.trace.header_lines(attempt) if exchange.trace is not None else b"",
        )
    ]
    if rewrite is not None:
        parts.append(rewrite.lines)
    nominated: set[bytes] = set()
    for name, value in request.raw_headers:
        lowered = name.lower()
        if lowered in dropped:
            if lowered == b"connection":
                nominated |= connection_tokens(value)
        elif b"_" not in name:
            # Names with an underscore pass for the same name with a hyphen in CGI and WSGI.
            parts.append(b"%b: %b\r\n" % (name, value))
    if not nominated <= _CONNECTION_OPTIONS:
        parts[1:] = [p for p in parts[1:] if p[: p.index(b":")].lower() not in nominated]
    if handshake is not None:
        parts.append(handshake.lines + b"\r\n")
    elif body is not None:
        parts.append(b"Content-Length: %d\r\n\r\n" % len(body))
    elif request.body_exists and request.content_length is None:
        parts.append(b"Transfer-Encoding: chunked\r\n\r\n")
    elif request.content_length is not None:
        parts.append(b"Content-Length: %d\r\n\r\n" % request.content_length)
    else:
        parts.append(b"\r\n")
    return b"".join(parts)
