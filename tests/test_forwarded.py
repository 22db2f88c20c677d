"""Who the client is, and who is believed about it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.forwarded import Claims, TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "::1/128"])
addresses = st.ip_addresses().map(str)


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
    ],
)
def test_the_client_is_the_last_hop_that_is_not_ours(chain: str, client: str) -> None:
    origin = PROXIES.origin("10.0.0.1", secure=False, host="h", claims=Claims(chain))
    assert origin.client_ip == client


@given(st.text(max_size=60), st.text(max_size=10), addresses)
def test_whatever_a_proxy_says_makes_well_formed_lines(chain: str, proto: str, peer: str) -> None:
    claims = Claims(chain, proto, "")
    origin = PROXIES.origin(peer, secure=True, host="h.test", claims=claims)
    ipaddress.ip_address(origin.client_ip)
    lines = origin.lines.decode().split("\r\n")
    assert [line.split(":")[0] for line in lines[:-1]] == [
        *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"),
    ]
    assert lines[1] in ("X-Forwarded-Proto: http", "X-Forwarded-Proto: https")
    for hop in lines[0].partition(": ")[2].split(", "):
        ipaddress.ip_address(hop)


def test_an_ipv6_client_is_quoted_in_forwarded() -> None:
    origin = PROXIES.origin("2001:db8::1", secure=True, host="h")
    assert b'Forwarded: for="[2001:db8::1]";host="h";proto=https\r\n' in origin.lines
