"""Checks of URLs: safe to fetch keys from, and usable as an endpoint."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from gateway.http.address_policy import is_address

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def is_trustworthy(url: str) -> bool:
    """Tell whether keys may be fetched from this URL: over TLS, or from this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https"
        or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))
    )


def is_host_name(text: str) -> bool:
    """Tell whether the text is a host name in lower case, without a trailing dot."""
    return _NAME.fullmatch(text) is not None


def endpoint_fault(url: str) -> str | None:
    """Return why no endpoint can have this URL, or None."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return "holds characters that a URL cannot"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        return str(exc)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return "not an endpoint: write http://HOST:PORT or https://HOST"
    if parts.query or parts.fragment or "@" in parts.netloc:
        return "has more than scheme, host, port and base path"
    if port == 0:
        return "has no usable port"
    host = parts.hostname or ""
    if not is_address(host) and ("[" in parts.netloc or not is_host_name(host)):
        return "has no usable host name"
    return None
