"""Anthropic error format: `{"type": "error", ...}` bodies and `event: error` in streams."""

from __future__ import annotations

import orjson

from gateway.dialects.errors import advice, error_document
from gateway.errors import GatewayError
from gateway.sse import end_of_event

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(error: GatewayError, request_id: str) -> bytes:
    """Return the JSON body of an error response: https://docs.anthropic.com/en/api/errors"""
    fallback = "invalid_request_error" if error.status < 500 else "api_error"
    return orjson.dumps(
        {
            "type": "error",
            "error": {"type": _KINDS.get(error.status, fallback), "message": error.message},
            "request_id": request_id,
        }
    )


def error_event(error: GatewayError, request_id: str, tail: bytes) -> bytes:
    """Return an error event that ends a stream whose last bytes are `tail`."""
    body = error_body(error, request_id)
    return b"%bevent: error\n%bdata: %b\n\n" % (end_of_event(tail), advice(error), body)


def passed_error(body: bytes) -> bytes | None:
    """Return a backend's error body as an event; None if it is no error document."""
    document = error_document(body)
    return None if document is None else b"event: error\ndata: %b\n\n" % orjson.dumps(document)
