"""OpenAI error format: `{"error": {...}}` bodies, server-sent events in streams."""

from __future__ import annotations

import orjson

from gateway.dialects.errors import advice, error_document
from gateway.errors import GatewayError
from gateway.sse import end_of_event


def error_body(error: GatewayError, request_id: str) -> bytes:
    """Return the JSON body of an error response."""
    body = {
        "message": error.message,
        "type": error.kind,
        "code": error.code,
        "param": error.param,
    }
    if request_id:
        body["request_id"] = request_id
    return orjson.dumps({"error": body})


def error_event(error: GatewayError, request_id: str, tail: bytes) -> bytes:
    """Return an error event that ends a stream whose last bytes are `tail`."""
    body = error_body(error, request_id)
    return b"%b%bdata: %b\n\n" % (end_of_event(tail), advice(error), body)


def passed_error(body: bytes) -> bytes | None:
    """Return a backend's error body as an event; None if it is no error document."""
    document = error_document(body)
    return None if document is None else b"data: %b\n\n" % orjson.dumps(document)
