"""Answers to bytes that made no request: fixed but for the request's ID, since nothing of the bytes
may be in them.
"""

from __future__ import annotations

from aiohttp import HttpVersion, HttpVersion10
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import LineTooLong

from gateway.dialects import DIALECTS
from gateway.errors import GatewayError, HeadersTooLarge, RequestError, VersionNotSupported

_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    410: "Gone",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


def refusal_for(exc: HttpProcessingError) -> GatewayError:
    """What to answer to a head or body aiohttp's parser did not accept."""
    if isinstance(exc, LineTooLong) or exc.message == "Too many headers received":
        return HeadersTooLarge()
    return RequestError("The request is not valid HTTP/1.1.", code="invalid_http")


def refusal_for_version(version: HttpVersion) -> GatewayError:
    """What to answer to a request of another version than HTTP/1.1."""
    if version < HttpVersion10:  # so the parser takes a request line without one
        return RequestError("The request line has to end with HTTP/1.1.", code="invalid_http")
    return VersionNotSupported()


def fixed_response(error: GatewayError, request_id: str) -> bytes:
    """The bytes of a whole response, after which the connection closes."""
    body = DIALECTS["openai"].error_body(error, request_id)
    head = (
        f"HTTP/1.1 {error.status} {_REASONS[error.status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nServer: gateway\r\nConnection: close\r\n"
        f"X-Request-ID: {request_id}\r\n"
    )
    head += "".join(f"{name}: {value}\r\n" for name, value in error.headers)
    return head.encode() + b"\r\n" + body
