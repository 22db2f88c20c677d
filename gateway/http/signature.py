"""Signature of the requests that the gateway sends to webhooks."""

from __future__ import annotations

import hashlib
import hmac


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the value of X-Gateway-Signature: HMAC-SHA256 of the timestamp, a dot and the body."""
    signed = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={signed.hexdigest()}"
