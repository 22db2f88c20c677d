"""What the error bodies of all dialects have in common."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.errors import GatewayError


def error_document(body: bytes) -> dict[str, Any] | None:
    """An error body as it was sent; None if it has no `error`, by which clients know one."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and document.get("error") else None


def advice(error: GatewayError) -> bytes:
    """A line of an event that says when to connect again, if the error says when."""
    return b"" if error.retry_after_s is None else b"retry: %d\n" % (error.retry_after_s * 1000)
