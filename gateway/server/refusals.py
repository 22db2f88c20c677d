"""Error responses to bytes that are no valid request. A response is fixed except for its request
id, since it must not repeat anything of those bytes.
"""

from __future__ import annotations

from aiohttp import HttpVersion, HttpVersion10

from gateway.aiohttp_adaptor import HttpProcessingError, LineTooLong
from gateway.dialects import DIALECTS
from gateway.errors import GatewayError, HeadersTooLarge, RequestError, VersionNotSupported
from gateway.http.headers import lines
from gateway.response_head import http_head

_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    410: "Gone",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


def refusal_for(exc: HttpProcessingError) -> GatewayError:
    """Return the error for a head or body that aiohttp's parser rejected."""
    if isinstance(exc, LineTooLong) or exc.message == "Too many headers received":
        return HeadersTooLarge()
    return RequestError("The request is not valid HTTP/1.1.", code="invalid_http")


def refusal_for_version(version: HttpVersion) -> GatewayError:
    """Return the error for a request whose version is not HTTP/1.1."""
    if version < HttpVersion10:  # the parser's result for a request line without a version
        return RequestError("The request line has to end with HTTP/1.1.", code="invalid_http")
    return VersionNotSupported()


def fixed_response(error: GatewayError, request_id: str) -> bytes:
    """Return the bytes of a whole response, after which the connection closes."""
    fields, body = fixed_parts(error, request_id)
    reason = _REASONS[error.status]
    return http_head(error.status, reason, lines(fields), keeps_alive=False) + body


def fixed_parts(error: GatewayError, request_id: str) -> tuple[list[tuple[str, str]], bytes]:
    """Return the header fields and the body of the same response."""
    body = DIALECTS["openai"].error_body(error, request_id)
    fields = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Server", "gateway"),
        ("X-Request-ID", request_id),
        *error.headers,
    ]
    return fields, body
