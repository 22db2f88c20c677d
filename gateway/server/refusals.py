"""Answers to bytes that made no request: fixed, since nothing of the bytes may be in them."""

from __future__ import annotations

from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import LineTooLong

from gateway.dialects import DIALECTS
from gateway.errors import GatewayError, HeadersTooLarge, RequestError

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


def fixed_response(error: GatewayError, request_id: str) -> bytes:
    """A whole response, after which the connection closes."""
    body = DIALECTS["openai"].error_body(error, "")
    head = (
        f"HTTP/1.1 {error.status} {_REASONS[error.status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nServer: gateway\r\nConnection: close\r\n"
        f"X-Request-ID: {request_id}\r\n"
    )
    head += "".join(f"{name}: {value}\r\n" for name, value in error.headers)
    return head.encode() + b"\r\n" + body
