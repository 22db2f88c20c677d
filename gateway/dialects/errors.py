"""Code shared by the error bodies of all dialects."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.errors import GatewayError


def error_document(body: bytes) -> dict[str, Any] | None:
    """Parse an error body; None if it lacks `error`, the member by which clients recognize one."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and document.get("error") else None


def advice(error: GatewayError) -> bytes:
    """Return a `retry:` line with the reconnection delay, or nothing if the error has no delay."""
    return b"" if error.retry_after_s is None else b"retry: %d\n" % (error.retry_after_s * 1000)
