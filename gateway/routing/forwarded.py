"""Client address behind proxies, and the headers that tell the upstream: X-Forwarded-* and
Forwarded (RFC 7239).

Only peers in the configured networks are trusted; what any other peer claims is replaced.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

_CACHED = 4096
_LONGEST_CACHED = 512
"""Length of a proxy's claims, in characters, up to which their meaning is cached. Clients choose
it: a proxy appends to their claims.
"""
_WITH_PORT = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<ipv4>[0-9.]+))(?::[0-9]{1,5})?")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def client_address(text: str) -> str | None:
    """Return an IP address in its canonical spelling, or None if the text is no address.

    An IPv4-mapped address, as a dual-stack listener sees IPv4 clients, becomes the IPv4 address. A
    port and the brackets of IPv6 are dropped: some proxies write them into X-Forwarded-For. An
    address with a zone is None, since a zone has no meaning on another machine.
    """
    match = _WITH_PORT.fullmatch(text)
    if match is not None:
        text = match["ipv6"] or match["ipv4"]
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return a network; an IPv4-mapped one becomes the IPv4 network."""
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        base = network.network_address.ipv4_mapped
        return ipaddress.IPv4Network((int(base or 0), network.prefixlen - 96))
    return network


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of a request, and the header lines for the upstream."""

    client_ip: str
    lines: bytes
    url: str
    """Scheme and authority that the client used, such as https://gateway.example.com."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of a trusted proxy about its client, as in its headers."""

    forwarded_for: str = ""
    proto: str = ""
    host: str = ""


class TrustedProxies:
    """Networks of trusted proxies. Results are cached: the same clients send many requests."""

    def __init__(self, networks: Iterable[str]) -> None:
        self.networks = tuple(_network(network) for network in networks)
        self.peer: Callable[[str], tuple[str, bool]] = lru_cache(_CACHED)(self._peer)
        """Function that returns the address of a peer in its canonical spelling, and whether it is
        one of the proxies. It takes the address as the kernel spells it.
        """
        self.trusts: Callable[[str], bool] = lru_cache(_CACHED)(self._trusts)
        """Function that tells whether a peer's address is one of the proxies."""
        self._known_origin: Callable[[str, bool, str, Claims | None], Origin]
        self._known_origin = lru_cache(_CACHED)(self._origin)

    def origin(self, peer: str, secure: bool, host: str, claims: Claims | None) -> Origin:
        """Return the origin of a request, from the peer's address, True for TLS, the Host header,
        and the peer's claims (None unless it is trusted).
        """
        if claims is not None and len(claims.forwarded_for + claims.proto) > _LONGEST_CACHED:
            return self._origin(peer, secure, host, claims)
        return self._known_origin(peer, secure, host, claims)

    def _peer(self, host: str) -> tuple[str, bool]:
        # A zone of a link-local address means nothing to others.
        address = client_address(host.partition("%")[0]) or host
        return address, self.trusts(address)

    def _trusts(self, peer: str) -> bool:
        if not self.networks:
            return False
        text = client_address(peer)
        if text is None:
            return False
        address = ipaddress.ip_address(text)
        return any(address in network for network in self.networks)

    def _origin(self, peer: str, secure: bool, host: str, claims: Claims | None) -> Origin:
        claims = claims or Claims()
        hops = [hop.strip() for hop in claims.forwarded_for.split(",")]
        chain = [client_address(hop) for hop in hops if hop]
        client_ip = peer
        for hop in reversed(chain):
            if hop is None:
                break
            client_ip = hop
            if not self.trusts(hop):
                break
        proto = claims.proto if claims.proto in ("http", "https") else ""
        proto = proto or ("https" if secure else "http")
        host = claims.host or host
        node = f'"[{client_ip}]"' if ":" in client_ip else client_ip
        via = ", ".join([hop for hop in chain if hop is not None] + [peer])
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
