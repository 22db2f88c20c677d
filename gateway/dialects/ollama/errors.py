"""Ollama error format: `{"error": "..."}` bodies, one JSON object a line in streams."""

from __future__ import annotations

import orjson

from gateway.dialects.errors import error_document
from gateway.errors import GatewayError


class Ollama:
    """Ollama API: https://github.com/ollama/ollama/blob/main/docs/api.md"""

    name = "ollama"
    stream_type = b"application/x-ndjson"

    def error_body(self, error: GatewayError, request_id: str) -> bytes:
        return orjson.dumps({"error": error.message, "code": error.code, "request_id": request_id})

    def error_event(self, error: GatewayError, request_id: str, tail: bytes) -> bytes:
        # Clients parse every line, even a blank one: add a line end only after an incomplete line.
        end = b"" if not tail or tail.endswith(b"\n") else b"\n"
        return b"%b%b\n" % (end, self.error_body(error, request_id))

    def passed_error(self, body: bytes) -> bytes | None:
        document = error_document(body)
        return None if document is None else b"%b\n" % orjson.dumps(document)
