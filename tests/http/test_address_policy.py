"""Where no upstream may be, however it is written (X5)."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.address_policy import Address, AddressPolicy, Network, is_ambiguous

POLICY = AddressPolicy()
LINK_LOCAL = "is link-local, where clouds keep their metadata"
AMBIGUOUS = "is an ambiguous spelling of an IPv4 address"
METADATA = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16",
        "192.0.0.192",
        "fd00:42::42",
        "fd00:c1::a9fe:a9fe",
        "fd00:ec2::/32",
        "fd20:ce::254",
    )
)

v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)
inside = st.sampled_from(
    [
        *("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "203.0.113.0/24"),
        *("0.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/64", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"),
        *("2001:db8::/32", "fc00::/7", "fd00:ec2::/32", "fe80::/10", "ff00::/8"),
    ]
).flatmap(lambda network: st.ip_addresses(network=network))
addresses = st.one_of(v4, v6, inside)


def expected(address: Address) -> bool:
    """Whether it is to be refused, by what the ipaddress module knows of it."""
    if any(address in network for network in METADATA):
        return True
    if address.version == 4:
        return (
            address.is_link_local
            or address.is_multicast
            or address.is_reserved
            or address in ipaddress.ip_network("0.0.0.0/8")
            or address in ipaddress.ip_network("100.64.0.0/10")
            or address in ipaddress.ip_network("192.88.99.0/24")
        )
    embedded = address.ipv4_mapped
    if embedded is None and int(address) < 2**32 and not address.is_loopback:
        embedded = ipaddress.IPv4Address(int(address))
    if embedded is not None:
        return expected(embedded)
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.sixtofour is not None
        or address.teredo is not None
        or any(
            address in ipaddress.ip_network(network)
            for network in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")
        )
    )


@given(addresses)
def test_what_is_refused_is_what_leads_elsewhere(address: Address) -> None:
    assert (POLICY.refused(str(address)) is not None) == expected(address)


@given(v4)
def test_an_address_in_an_ipv6_one_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    why = POLICY.refused(str(address))
    assert POLICY.refused(f"::ffff:{address}") == why
    if address != ipaddress.IPv4Address("0.0.0.1"):  # ::1 is loopback
        assert POLICY.refused(f"::{address}") == why


@given(st.one_of(v6, inside.filter(lambda address: address.version == 6)))
def test_every_spelling_of_an_ipv6_address_is_judged_alike(address: ipaddress.IPv6Address) -> None:
    groups = [f"{int(address) >> shift & 0xFFFF:04x}" for shift in range(112, -1, -16)]
    quads = ":".join([*groups[:6], str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))])
    exploded = ":".join(groups)
    spellings = (address.compressed, exploded, exploded.upper(), quads)
    assert len({POLICY.refused(spelling) for spelling in spellings}) == 1


@given(addresses, st.integers(0, 128))
def test_what_is_in_an_allowed_network_is_never_refused(address: Address, bits: int) -> None:
    bits = min(bits, address.max_prefixlen)
    network: Network = ipaddress.ip_network(f"{address}/{bits}", strict=False)
    assert AddressPolicy([network]).refused(str(address)) is None


def test_what_is_allowed_is_that_network_only() -> None:
    policy = AddressPolicy([ipaddress.ip_network("169.254.7.0/24")])
    assert policy.refused("169.254.7.1") is None
    assert policy.refused("::ffff:169.254.7.1") is None
    assert policy.refused("169.254.169.254") == LINK_LOCAL
    assert policy.refused("fe80::1") == LINK_LOCAL


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("169.254.169.254", LINK_LOCAL),
        ("::ffff:169.254.169.254", LINK_LOCAL),
        ("::169.254.169.254", LINK_LOCAL),
        ("fe80::1", LINK_LOCAL),
        ("fe80::1%eth0", LINK_LOCAL),
        ("fd00:ec2::254", "is where a cloud keeps its metadata"),
        ("168.63.129.16", "is where a cloud keeps its metadata"),
        ("100.100.100.200", "is in carrier-grade NAT (RFC 6598)"),
        ("2002:a9fe:a9fe::1", "is a 6to4 address, which leads to a tunnel"),
        ("64:ff9b::169.254.169.254", "is a NAT64 address, which leads to an IPv4 address"),
        ("64:ff9b:1::1", "is a NAT64 address, which leads to an IPv4 address"),
        ("::ffff:0:169.254.169.254", "is a NAT64 address, which leads to an IPv4 address"),
        ("2001::1", "is a Teredo address, which leads to a tunnel"),
        ("239.1.2.3", "is multicast"),
        ("ff02::1", "is multicast"),
        ("0.0.0.0", "is unspecified: it stands for no machine"),
        ("::", "is unspecified: it stands for no machine"),
        ("255.255.255.255", "is reserved (RFC 1112)"),
        ("\uff11\uff12\uff17.0.0.1", "is not ASCII"),
    ],
)
def test_the_reason_is_said(host: str, why: str) -> None:
    assert POLICY.refused(host) == why


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "::1", "::1%lo", "10.0.0.5", "172.16.0.1", "192.168.1.1", "fd12:3456::7"),
        *("8.8.8.8", "2606:4700::1", "2001:db8::1", "localhost", "vllm.internal", "a1", "1a.b2"),
        *("10.example", "0x.example", "x0x1", "deadbeef0123.docker"),
    ],
)
def test_where_backends_are_is_fine(host: str) -> None:
    assert POLICY.refused(host) is None


part = st.one_of(
    st.integers(0, 255).map(str),
    st.integers(0, 255).map(hex),
    st.integers(0, 255).map(lambda number: f"0X{number:X}"),
    st.integers(0, 255).map(lambda number: f"0{number:o}"),
    st.integers(0, 2**32 - 1).map(str),
    st.integers(0, 2**24 - 1).map(hex),
)


@given(st.lists(part, min_size=1, max_size=4).map(".".join))
def test_what_the_c_library_reads_as_an_address_is_written_as_one_or_refused(host: str) -> None:
    try:
        read = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return
    assert is_ambiguous(host) == (host != read)
    if host != read:
        assert POLICY.refused(host) == AMBIGUOUS
        assert AddressPolicy([ipaddress.ip_network("0.0.0.0/0")]).refused(host) == AMBIGUOUS


@pytest.mark.parametrize(
    "host",
    [
        *("127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.01", "0x7f000001", "0", "0x"),
        *("127.0.0.1.", "1.2.3.4.5", "256.0.0.1", "127.0.0.0x1", "a.1", "99999999999"),
    ],
)
def test_an_address_that_others_read_otherwise_is_refused(host: str) -> None:
    assert POLICY.refused(host) == AMBIGUOUS


@given(st.text())
def test_any_text_is_judged(host: str) -> None:
    POLICY.refused(host)
