"""Address policy: addresses that no backend may have, so that neither a route nor a DNS answer can
lead there.

Model backends are on loopback, private (RFC 1918, ULA) and public addresses. Refused addresses lead
elsewhere than they seem to, or to services meant for this machine only, such as a cloud's metadata.
There is no I/O here: `resolve.py` resolves names and checks their addresses with this policy.
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
        # These are ULAs, which are allowed in general.
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
    """Policy that refuses these addresses, except for the networks in `allow`."""

    allow: Sequence[Network] = ()

    def refused(self, host: str) -> str | None:
        """Return why a host may not be an upstream, as text to put after it, such as "is
        multicast"; None if it may.

        `host` is the host of a URL, without brackets. For a name the result is None: its addresses
        are checked once they are resolved.
        """
        if not host.isascii():
            return "is not ASCII"
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            ambiguous = is_ambiguous(host)
            return "is an ambiguous spelling of an IPv4 address" if ambiguous else None
        # Packets go to the embedded address, so that is checked as well.
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
    """Tell whether the text is an IPv4 address, or an IPv6 address without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_ambiguous(host: str) -> bool:
    """Tell whether parsers disagree on a host: some read an IPv4 address, others a different
    address or a name.

    Examples are `127.1`, `0x7f.1`, `2130706433` and `0177.0.0.1`: inet_aton accepts octal,
    hexadecimal and fewer parts. No host name ends in a number (RFC 3696 section 2), so no valid
    name is affected.
    """
    last = host.removesuffix(".").rpartition(".")[2]
    return not is_address(host) and _NUMBER.fullmatch(last) is not None


def _embedded(address: Address) -> Address | None:
    """Return the IPv4 address in an IPv4-mapped or -compatible one (RFC 4291 2.5.5), or None."""
    if address.version == 4:
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    number = int(address)
    loopback = number == 1
    return None if number >> 32 or loopback else ipaddress.IPv4Address(number)
