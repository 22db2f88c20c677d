"""Rewriting of `Location` and similar response headers: the backend's address becomes the
gateway's. No I/O.

A client that followed a redirect to the backend's own address would bypass the gateway, with its
credential checks, limits and log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urljoin

_PARTS = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?:[/\\]{2,}(?P<authority>[^/?#\\]*))?"
    r"(?P<path>[^?#]*)(?P<rest>.*)",
    re.DOTALL,
)
"""RFC 3986 appendix B; query and fragment stay together in `rest`. Two or more slashes or
backslashes begin an authority, as they do in browsers (https://url.spec.whatwg.org/).
"""
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Exposure:
    """Addresses of one request as the client sees it and as the backend sees it."""

    public: str
    """Scheme and authority that the client used, such as https://gateway.example.com."""
    path: str
    """Path that the client requested."""
    prefix: str
    """Prefix of `path` that is not forwarded; no trailing slash."""
    base: str
    """Path put before the forwarded rest of `path`; no trailing slash."""
    authorities: tuple[str, ...]
    """Authorities of the backend, as HOST or HOST:PORT: its own, and the Host header it was
    sent.
    """


def public_location(value: str, seen: Exposure) -> str:
    """Convert a URI reference from a backend (RFC 3986 section 4.1) to one for the client.

    An absolute reference to the backend becomes one to the gateway. A relative one changes only if
    the client would resolve it to something else. All others stay.
    """
    parts = _PARTS.fullmatch(value)
    assert parts is not None  # any text matches
    scheme, authority = parts["scheme"], parts["authority"]
    if authority is not None:
        points_here = (scheme or "http").lower() in _DEFAULT_PORTS and any(
            _same(authority, own, scheme) for own in seen.authorities
        )
        if not points_here:
            return value
        path = parts["path"].replace("\\", "/")
        return seen.public + _public_path(path, seen) + parts["rest"]
    if scheme is not None or not (seen.prefix or seen.base):
        return value
    try:
        # Resolve by RFC 3986 section 5.2, as the backend means it and as the client reads it.
        meant = urljoin(f"http://_{seen.base}{seen.path[len(seen.prefix) :]}", value)
        read = urljoin(f"http://_{seen.path}", value)
    except ValueError:
        return value
    parts = _PARTS.fullmatch(meant)
    assert parts is not None
    public = _public_path(parts["path"], seen) + parts["rest"]
    return value if f"http://_{public}" == read else public


def _public_path(path: str, seen: Exposure) -> str:
    """Convert a path of the backend to one below the route; a path that is already there stays."""
    path = _without(path, seen.base) or "/"
    if not path.startswith("/"):
        path = "/" + path
    return path if _is_below(path, seen.prefix) else seen.prefix + path


def _without(path: str, base: str) -> str:
    return path[len(base) :] if base and _is_below(path, base) else path


def _is_below(path: str, base: str) -> bool:
    return path == base or path.startswith(base + "/")


def _same(authority: str, own: str, scheme: str | None) -> bool:
    """Tell whether two authorities are the same. A missing port matches the default port of either
    scheme: a backend behind a gateway has to guess which scheme the client used.
    """
    host, port = _split(authority)
    own_host, own_port = _split(own)
    if host != own_host:
        return False
    if port and scheme and port == _DEFAULT_PORTS.get(scheme.lower()):
        port = ""
    return (
        port == own_port
        or (not port and own_port in _DEFAULT_PORTS.values())
        or (not own_port and port in _DEFAULT_PORTS.values())
    )


def _split(authority: str) -> tuple[str, str]:
    """Split into host and port. User information is left out, and all loopback hosts are one."""
    authority = authority.rpartition("@")[2].lower()
    host, colon, port = authority.rpartition(":")
    if not colon or "]" in port:
        host, port = authority, ""
    host = host.removesuffix(".")
    return ("localhost" if host in _LOOPBACK else host), port.lstrip("0")


def rewrite(
    fields: Iterable[tuple[bytes, bytes]], names: frozenset[bytes], seen: Exposure
) -> list[tuple[bytes, bytes]]:
    """Return the header fields, with the URI references in those of these lower-case names
    converted.
    """
    return [
        (name, public_location(value.decode("latin-1"), seen).encode("latin-1"))
        if name.lower() in names
        else (name, value)
        for name, value in fields
    ]
