"""Ollama error format: `{"error": "..."}` bodies, one JSON object a line in streams."""

from __future__ import annotations

import orjson

from gateway.dialects.errors import error_document
from gateway.errors import GatewayError


def error_body(error: GatewayError, request_id: str) -> bytes:
    """Return the JSON body of an error response."""
    return orjson.dumps({"error": error.message, "code": error.code, "request_id": request_id})


def error_event(error: GatewayError, request_id: str, tail: bytes) -> bytes:
    """Return an error line that ends a stream whose last bytes are `tail`."""
    # Clients parse every line, even a blank one: add a line end only after an incomplete line.
    end = b"" if not tail or tail.endswith(b"\n") else b"\n"
    return b"%b%b\n" % (end, error_body(error, request_id))


def passed_error(body: bytes) -> bytes | None:
    """Return a backend's error body as a line; None if it is no error document."""
    document = error_document(body)
    return None if document is None else b"%b\n" % orjson.dumps(document)
