"""Which addresses no backend is at: refused, so that a route or a DNS answer cannot lead there.

Model backends are on loopback, private (RFC 1918, ULA) and public addresses. What is refused leads
elsewhere than it seems to, or to what only this machine may ask: a cloud's metadata. Here are no
sockets and no names: `resolve.py` asks for a name's addresses and has them judged here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_UNSPECIFIED = "is unspecified: it stands for no machine"
_LINK_LOCAL = "is link-local, where clouds keep their metadata"
_METADATA = "is where a cloud keeps its metadata"
_MULTICAST = "is multicast"
_6TO4 = "is a 6to4 address, which leads to a tunnel"
_NAT64 = "is a NAT64 address, which leads to an IPv4 address"
_REFUSED: Sequence[tuple[Network, str]] = [
    (ipaddress.ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", _UNSPECIFIED),
        ("100.64.0.0/10", "is in carrier-grade NAT (RFC 6598)"),
        ("168.63.129.16/32", _METADATA),  # Azure
        ("169.254.0.0/16", _LINK_LOCAL),
        ("192.0.0.192/32", _METADATA),  # Oracle, of old
        ("192.88.99.0/24", _6TO4),
        ("224.0.0.0/4", _MULTICAST),
        ("240.0.0.0/4", "is reserved (RFC 1112)"),
        ("::/128", _UNSPECIFIED),
        ("::ffff:0:0:0/96", _NAT64),
        ("64:ff9b::/96", _NAT64),
        ("64:ff9b:1::/48", _NAT64),
        ("2001::/32", "is a Teredo address, which leads to a tunnel"),
        ("2002::/16", _6TO4),
        # These are ULAs, which otherwise are fine.
        ("fd00:42::42/128", _METADATA),  # Scaleway
        ("fd00:c1::a9fe:a9fe/128", _METADATA),  # Oracle
        ("fd00:ec2::/32", _METADATA),  # AWS
        ("fd20:ce::254/128", _METADATA),  # Google
        ("fe80::/10", _LINK_LOCAL),
        ("ff00::/8", _MULTICAST),
    )
]


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What is refused, but for the networks in `allow`."""

    allow: Sequence[Network] = ()

    def refused(self, host: str) -> str | None:
        """Why this host, as it stands in a URL but without brackets, may not be an upstream.

        None if it may, and for a name: its addresses are judged when they are known. The text goes
        on after the host: "is multicast".
        """
        if not host.isascii():
            return "is not ASCII"
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            ambiguous = is_ambiguous(host)
            return "is an ambiguous spelling of an IPv4 address" if ambiguous else None
        # What an address embeds is where its packets go.
        for one in (address, _embedded(address)):
            if one is None:
                continue
            if any(one in network for network in self.allow):
                return None
            for network, why in _REFUSED:
                if one in network:
                    return why
        return None


def is_address(host: str) -> bool:
    """Whether this is an IPv4 or an IPv6 address, the latter without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_ambiguous(host: str) -> bool:
    """Whether some read it as an IPv4 address, and others as another one or as a name.

    `127.1`, `0x7f.1`, `2130706433` and `0177.0.0.1` are such: inet_aton takes octal, hexadecimal
    and fewer parts. No name ends in a number, so nothing else is lost (RFC 3696 section 2).
    """
    last = host.removesuffix(".").rpartition(".")[2]
    return not is_address(host) and _NUMBER.fullmatch(last) is not None


def _embedded(address: Address) -> Address | None:
    """The IPv4 address in an IPv4-mapped or IPv4-compatible one (RFC 4291 section 2.5.5)."""
    if address.version == 4:
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    number = int(address)
    loopback = number == 1
    return None if number >> 32 or loopback else ipaddress.IPv4Address(number)
