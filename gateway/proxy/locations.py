"""`Location` and the like in responses: a backend's address becomes the gateway's. No I/O.

A client that follows a redirect to the backend's own address passes the gateway by, with its
credential checks, limits and log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urljoin

_PARTS = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<authority>[^/?#\\]*))?"
    r"(?P<path>[^?#]*)(?P<rest>.*)",
    re.DOTALL,
)
"""RFC 3986 appendix B; query and fragment stay together."""
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Exposure:
    """How a client and a backend see one request."""

    public: str
    """Scheme and authority that the client used, such as https://gateway.example.com."""
    path: str
    """The path that the client asked for."""
    prefix: str
    """The beginning of it that is not forwarded; no trailing slash."""
    base: str
    """The path that is put before the rest; no trailing slash."""
    authorities: tuple[str, ...]
    """Of the backend, as HOST or HOST:PORT: its own, and the Host it was sent."""


def public_location(value: str, seen: Exposure) -> str:
    """A URI reference of a backend's (RFC 3986 section 4.1), as the client has to read it.

    An absolute one that points at the backend becomes one that points at the gateway. A relative
    one is changed only where the client would resolve it to something else. Others stay.
    """
    parts = _PARTS.fullmatch(value)
    assert parts is not None  # any text matches
    scheme, authority = parts["scheme"], parts["authority"]
    if authority is not None:
        points_here = (scheme or "http").lower() in _DEFAULT_PORTS and any(
            _same(authority, own, scheme) for own in seen.authorities
        )
        return (
            seen.public + _public_path(parts["path"], seen) + parts["rest"]
            if points_here
            else value
        )
    if scheme is not None or not (seen.prefix or seen.base):
        return value
    try:
        # RFC 3986 section 5.2, once as the backend means it and once as the client reads it.
        meant = urljoin(f"http://_{seen.base}{seen.path[len(seen.prefix) :]}", value)
        read = urljoin(f"http://_{seen.path}", value)
    except ValueError:
        return value
    parts = _PARTS.fullmatch(meant)
    assert parts is not None
    public = _public_path(parts["path"], seen) + parts["rest"]
    return value if f"http://_{public}" == read else public


def _public_path(path: str, seen: Exposure) -> str:
    """A path of the backend's, below the route; one that is there already stays."""
    path = _without(path, seen.base) or "/"
    if not path.startswith("/"):
        path = "/" + path
    return path if _is_below(path, seen.prefix) else seen.prefix + path


def _without(path: str, base: str) -> str:
    return path[len(base) :] if base and _is_below(path, base) else path


def _is_below(path: str, base: str) -> bool:
    return path == base or path.startswith(base + "/")


def _same(authority: str, own: str, scheme: str | None) -> bool:
    """Whether two authorities are one. Where a port is missing it is that of either scheme: a
    backend behind a gateway has to guess which one the client used.
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
    host, colon, port = authority.rpartition(":")
    if not colon or "]" in port:
        return authority.lower(), ""
    return host.lower(), port


def rewrite(
    fields: Iterable[tuple[bytes, bytes]], names: frozenset[bytes], seen: Exposure
) -> list[tuple[bytes, bytes]]:
    """Header fields, with the references in those of these lower-case names made public."""
    return [
        (name, public_location(value.decode("latin-1"), seen).encode("latin-1"))
        if name.lower() in names
        else (name, value)
        for name, value in fields
    ]
