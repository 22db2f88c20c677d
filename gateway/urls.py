"""What a URL is trusted with."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_trustworthy(url: str) -> bool:
    """Whether keys may be fetched from there: over TLS, or from this very machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https"
        or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))
    )
