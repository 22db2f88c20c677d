"""Anthropic error format: `{"type": "error", ...}` bodies and `event: error` in streams."""

from __future__ import annotations

import orjson

from gateway.dialects.errors import advice, error_document
from gateway.errors import GatewayError
from gateway.sse import EVENT_STREAM, end_of_event

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


class Anthropic:
    """Anthropic API: https://docs.anthropic.com/en/api/errors"""

    name = "anthropic"
    stream_type = EVENT_STREAM.encode()

    def error_body(self, error: GatewayError, request_id: str) -> bytes:
        fallback = "invalid_request_error" if error.status < 500 else "api_error"
        return orjson.dumps(
            {
                "type": "error",
                "error": {"type": _KINDS.get(error.status, fallback), "message": error.message},
                "request_id": request_id,
            }
        )

    def error_event(self, error: GatewayError, request_id: str, tail: bytes) -> bytes:
        body = self.error_body(error, request_id)
        end = end_of_event(tail)
        return b"%bevent: error\n%bdata: %b\n\n" % (end, advice(error), body)

    def passed_error(self, body: bytes) -> bytes | None:
        document = error_document(body)
        return None if document is None else b"event: error\ndata: %b\n\n" % orjson.dumps(document)
