"""Who the client is, and who is believed about it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.forwarded import Claims, TrustedProxies, client_address
from tests.support.growth import kept_bytes

PROXIES = TrustedProxies(["10.0.0.0/8", "::1/128"])
addresses = st.ip_addresses().map(str).filter(lambda text: not text.startswith("::ffff:"))


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("::1", True),
        ("11.0.0.1", False),
        ("", False),
        ("unix:", False),
    ],
)
def test_only_the_configured_networks_are_believed(peer: str, trusted: bool) -> None:
    assert PROXIES.trusts(peer) is trusted


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("", "10.0.0.1"),
        ("8.8.8.8", "8.8.8.8"),
        ("6.6.6.6, 8.8.8.8", "8.8.8.8"),
        ("6.6.6.6, 8.8.8.8, 10.0.0.2", "8.8.8.8"),
        ("6.6.6.6, junk, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("203.0.113.7:50001", "203.0.113.7"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:50001", "203.0.113.7"),
        ("203.0.113.7:50001, 10.0.0.2:8080", "203.0.113.7"),
        ("203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7"),
        ("203.0.113.7:123456", "10.0.0.1"),
        ("203.0.113.7:", "10.0.0.1"),
        ("[203.0.113.7]x", "10.0.0.1"),
        ("fe80::1%eth0", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_hop_that_is_not_ours(chain: str, client: str) -> None:
    origin = PROXIES.origin("10.0.0.1", False, "h", Claims(chain))
    assert origin.client_ip == client


@given(st.text(max_size=60), st.text(max_size=10), addresses)
def test_whatever_a_proxy_says_makes_well_formed_lines(chain: str, proto: str, peer: str) -> None:
    claims = Claims(chain, proto, "")
    origin = PROXIES.origin(peer, True, "h.test", claims)
    ipaddress.ip_address(origin.client_ip)
    lines = origin.lines.decode().split("\r\n")
    assert [line.split(":")[0] for line in lines[:-1]] == [
        *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"),
    ]
    assert lines[1] in ("X-Forwarded-Proto: http", "X-Forwarded-Proto: https")
    for hop in lines[0].partition(": ")[2].split(", "):
        ipaddress.ip_address(hop)


def test_what_is_told_upstream_has_neither_ports_nor_mapped_addresses() -> None:
    claims = Claims("203.0.113.7:50001, [2001:db8::1]:4711, ::ffff:10.0.0.2")
    origin = PROXIES.origin("10.0.0.1", False, "h", claims)
    assert origin.lines.startswith(
        b"X-Forwarded-For: 203.0.113.7, 2001:db8::1, 10.0.0.2, 10.0.0.1\r\n"
    )


@pytest.mark.parametrize(
    ("host", "address", "trusted"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("192.0.2.1", "192.0.2.1", False),
        ("fe80::1%eth0", "fe80::1", False),
    ],
)
def test_a_peer_has_an_address_without_zone_or_mapping(
    host: str, address: str, trusted: bool
) -> None:
    assert TrustedProxies(["10.0.0.0/8"]).peer(host) == (address, trusted)


@pytest.mark.parametrize("network", ["::ffff:10.0.0.0/104", "::ffff:0:0/96"])
def test_a_network_of_mapped_addresses_is_one_of_ipv4(network: str) -> None:
    assert TrustedProxies([network]).trusts("10.1.2.3")
    assert TrustedProxies([network]).trusts("::ffff:10.1.2.3")
    assert not TrustedProxies([network]).trusts("::1")


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_an_ipv4_address_is_the_same_in_every_spelling(
    address: ipaddress.IPv4Address, port: int
) -> None:
    for text in (f"{address}", f"{address}:{port}", f"::ffff:{address}", f"[::ffff:{address}]"):
        assert client_address(text) == str(address)


@given(st.integers(2**48, 2**128 - 1).map(ipaddress.IPv6Address), st.integers(0, 65535))
def test_an_ipv6_address_is_the_same_in_every_spelling(
    address: ipaddress.IPv6Address, port: int
) -> None:
    for text in (f"{address}", address.exploded.upper(), f"[{address}]", f"[{address}]:{port}"):
        assert client_address(text) == str(address)


def test_an_ipv6_client_is_quoted_in_forwarded() -> None:
    origin = PROXIES.origin("2001:db8::1", True, "h", None)
    assert b'Forwarded: for="[2001:db8::1]";host="h";proto=https\r\n' in origin.lines


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# What no address is, and what comes close to one.
junk_hops = st.sampled_from(
    ["", "junk", "unknown", "_hidden", "8.8.8.8:", "[::1", "1.2.3", "999.1.1.1", "0x7f.1"]
) | st.text(st.characters(exclude_characters=",%"), max_size=12)
strangers = addresses.filter(lambda address: not PROXIES.trusts(address))


@given(st.lists(junk_hops | addresses, max_size=6), addresses)
def test_only_addresses_are_passed_on_in_order_and_the_peer_is_the_last(
    claimed: list[str], peer: str
) -> None:
    origin = PROXIES.origin(peer, False, "h", Claims(", ".join(claimed)))
    line = origin.lines.decode().split("\r\n")[0].removeprefix("X-Forwarded-For: ")
    hops = [hop.strip() for hop in ", ".join(claimed).split(",")]
    told = [str(ipaddress.ip_address(hop)) for hop in hops if is_address(hop)]
    assert line.split(", ") == [*told, peer]


@given(addresses, st.booleans())
def test_a_peer_without_claims_is_the_client_whoever_it_is(peer: str, secure: bool) -> None:
    origin = PROXIES.origin(peer, secure, "h.test:1", None)
    node = f'"[{peer}]"' if ":" in peer else peer
    proto = "https" if secure else "http"
    assert origin.client_ip == peer
    assert origin.lines.decode() == (
        f"X-Forwarded-For: {peer}\r\n"
        f"X-Forwarded-Proto: {proto}\r\n"
        "X-Forwarded-Host: h.test:1\r\n"
        f'Forwarded: for={node};host="h.test:1";proto={proto}\r\n'
    )


@pytest.mark.parametrize("proto", ["", "HTTPS", "ftp", "https, http", "https\r\nX-Evil: 1"])
def test_a_proto_that_is_none_is_replaced_by_the_connection_s(proto: str) -> None:
    origin = PROXIES.origin("10.0.0.1", False, "h", Claims(proto=proto))
    assert b"X-Forwarded-Proto: http\r\n" in origin.lines
    assert b"Evil" not in origin.lines


def test_what_a_trusted_proxy_says_of_scheme_and_host_is_passed_on() -> None:
    claims = Claims("8.8.8.8", "https", "api.test")
    lines = PROXIES.origin("10.0.0.1", False, "inner", claims).lines
    assert b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: api.test\r\n" in lines
    assert b'Forwarded: for=8.8.8.8;host="api.test";proto=https\r\n' in lines


@given(st.text(max_size=40))
def test_without_networks_nobody_is_trusted(peer: str) -> None:
    assert not TrustedProxies([]).trusts(peer)


@given(junk_hops.filter(lambda hop: not is_address(hop)))
def test_what_is_no_address_is_not_trusted(peer: str) -> None:
    assert not TrustedProxies(["0.0.0.0/0", "::/0"]).trusts(peer)


@pytest.mark.parametrize("hop", ["::1%\u20ac", "::1%\udcff", '::1%";for=6.6.6.6;x="', "fe80::1%a"])
def test_a_zone_is_no_part_of_an_address(hop: str) -> None:
    claims = Claims(f"{hop}, 8.8.8.8")
    origin = PROXIES.origin("10.0.0.1", False, "h", claims)
    assert origin.lines.startswith(b"X-Forwarded-For: 8.8.8.8, 10.0.0.1\r\n")


@pytest.mark.parametrize("field", ["forwarded_for", "proto"])
def test_long_claims_are_not_remembered(field: str) -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])

    def told(number: int) -> None:
        claims = Claims(**{field: f"{number:08000}"})
        assert proxies.origin("10.0.0.1", False, "h", claims).client_ip == "10.0.0.1"

    assert kept_bytes(told, 1000) < 1_000_000
