"""Who the client really is, and how the upstream is told: X-Forwarded-* and Forwarded (RFC 7239).

Only a peer inside the configured networks is believed; what anybody else claims is replaced.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from gateway.address_policy import is_address

_CACHED = 4096


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, and the header lines that say so."""

    client_ip: str
    lines: bytes
    url: str
    """Scheme and authority that the client used, such as https://gateway.example.com."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a trusted proxy says of its client, as it stands in its headers."""

    forwarded_for: str = ""
    proto: str = ""
    host: str = ""


class TrustedProxies:
    """The networks whose word is taken. Results are cached: clients repeat themselves."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)
        self.trusts: Callable[[str], bool] = lru_cache(_CACHED)(self._trusts)
        """Whether a peer, by its address, is one of the proxies."""
        self.origin: Callable[[str, bool, str, Claims | None], Origin]
        self.origin = lru_cache(_CACHED)(self._origin)
        """The origin of a request from a peer, by TLS or not, to a host; what the peer claims only
        where it is trusted.
        """

    def _trusts(self, peer: str) -> bool:
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)

    def _origin(self, peer: str, secure: bool, host: str, claims: Claims | None) -> Origin:
        claims = claims or Claims()
        chain = [hop.strip() for hop in claims.forwarded_for.split(",") if hop.strip()]
        client_ip = peer
        for hop in reversed(chain):
            if not _is_address(hop):
                break
            client_ip = hop
            if not self.trusts(hop):
                break
        proto = claims.proto if claims.proto in ("http", "https") else ""
        proto = proto or ("https" if secure else "http")
        host = claims.host or host
        node = f'"[{client_ip}]"' if ":" in client_ip else client_ip
        via = ", ".join([hop for hop in chain if _is_address(hop)] + [peer])
        return Origin(
            client_ip,
            (
                f"X-Forwarded-For: {via}\r\n"
                f"X-Forwarded-Proto: {proto}\r\n"
                f"X-Forwarded-Host: {host}\r\n"
                f'Forwarded: for={node};host="{host}";proto={proto}\r\n'
            ).encode("latin-1"),
            f"{proto}://{host}",
        )


def _is_address(text: str) -> bool:
    # A zone means nothing elsewhere, and holds any characters.
    return "%" not in text and is_address(text)
