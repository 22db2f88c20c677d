"""Address of an endpoint: its URL, parsed once."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint's URL, parsed once."""

    url: str
    host: str
    port: int
    authority: str
    """Value of the Host header."""
    base: str
    """Path prefix of every request; no trailing slash."""
    tls: ssl.SSLContext | None
    server_name: str | None


def parse_address(url: str, tls: ssl.SSLContext | None, server_name: str | None) -> Address:
    """Parse an endpoint's URL. Raise ValueError if it has no usable host or port."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.username is not None:
        raise ValueError("the URL needs a host, and no user name")
    secure = parts.scheme == "https"
    return Address(
        url=url,
        host=parts.hostname,
        port=parts.port or (443 if secure else 80),
        authority=parts.netloc,
        base=parts.path.rstrip("/"),
        tls=tls if secure else None,
        server_name=(server_name or parts.hostname) if secure else None,
    )
