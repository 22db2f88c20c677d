"""OpenAI error format: `{"error": {...}}` bodies, server-sent events in streams."""

from __future__ import annotations

import orjson

from gateway.dialects.errors import advice, error_document
from gateway.errors import GatewayError
from gateway.sse import EVENT_STREAM, end_of_event


class OpenAI:
    """OpenAI API, also served by vLLM, SGLang and llama.cpp.

    https://platform.openai.com/docs/api-reference
    """

    name = "openai"
    stream_type = EVENT_STREAM.encode()

    def error_body(self, error: GatewayError, request_id: str) -> bytes:
        body = {
            "message": error.message,
            "type": error.kind,
            "code": error.code,
            "param": error.param,
        }
        if request_id:
            body["request_id"] = request_id
        return orjson.dumps({"error": body})

    def error_event(self, error: GatewayError, request_id: str, tail: bytes) -> bytes:
        body = self.error_body(error, request_id)
        return b"%b%bdata: %b\n\n" % (end_of_event(tail), advice(error), body)

    def passed_error(self, body: bytes) -> bytes | None:
        document = error_document(body)
        return None if document is None else b"data: %b\n\n" % orjson.dumps(document)
