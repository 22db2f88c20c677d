"""Rendering of HTTP response heads: the only place that writes a status line and ends a head.

A head that is sent again and again is rendered once: its fields come as bytes (see `lines` of an
upstream's head), and the status line of a 200 is a constant.
"""

from __future__ import annotations

from gateway.exchange import Exchange
from gateway.http.headers import lines

_STATUS_LINES = {200: b"HTTP/1.1 200 OK\r\n"}
_END = b"\r\n"
_CLOSING_END = b"Connection: close\r\n\r\n"

UNBUFFERED = b"X-Accel-Buffering: no\r\n"
"""Field that keeps nginx from buffering a stream."""
STREAM_ID = "X-Stream-Id"
"""Field that names the kept stream of a response."""
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def http_head(
    status: int,
    reason: str,
    fields: bytes,
    keeps_alive: bool | None,
    exchange: Exchange | None = None,
) -> bytes:
    """Return a whole head as bytes for the wire, up to its blank line. `fields` are lines, with
    those of the framing. Without `keeps_alive`, the head says that the connection closes.

    If `exchange` is given, the head gets the fields that every response to a request has: those of
    its policies, and what its limits say.
    """
    line = _STATUS_LINES.get(status)
    if line is None:
        line = b"HTTP/1.1 %d %b\r\n" % (status, reason.encode("latin-1", "replace"))
    end = _END if keeps_alive else _CLOSING_END
    if exchange is None:
        return line + fields + end
    if exchange.decided is not None:
        fields += exchange.decided.header_lines()
    if exchange.made_headers is not None:
        fields += lines(exchange.made_headers)
    return b"".join((line, fields, exchange.id_line, end))


def fields_of_exchange(exchange: Exchange) -> list[tuple[str, str]]:
    """Return the fields that every response to a request has, as pairs."""
    fields = [("X-Request-ID", exchange.request_id)] if exchange.id_line else []
    fields += exchange.response_headers
    if exchange.decided is not None:
        fields += exchange.decided.header_pairs()
    return fields
