"""Endpoints of SRV records."""

from __future__ import annotations

import dns.asyncresolver
import dns.name
import pytest

from gateway.upstream.discovery.records import services_of
from gateway.upstream.discovery.source import Found
from tests.support.discovery import LINK_LOCAL, POLICY, Told
from tests.support.dns import DnsServer

SERVICE = "_http._tcp.vllm.test"


async def test_every_srv_record_is_an_endpoint(told: Told, server: DnsServer) -> None:
    server.put(SERVICE, "SRV", "1 0 80 b.test.", "0 5 8000 C.Test.", "0 7 8000 a.test.", ttl_s=9)
    told.by_dns(services_of(SERVICE, "http", POLICY), server)
    assert await told.round() == 9
    assert told.sets == [
        (
            Found("http://a.test:8000", "a.test:8000", 7, 0),
            Found("http://c.test:8000", "c.test:8000", 5, 0),
            Found("http://b.test:80", "b.test", 1, 1),
        )
    ]
    server.put(SERVICE, "SRV", "0 5 443 a.test.")
    await told.round()
    assert told.sets[-1] == (Found("http://a.test:443", "a.test:443", 5, 0),)
    assert {kind for _, kind, _ in server.asked} == {"SRV"}, "targets are resolved by who connects"


async def test_the_scheme_of_a_service_is_said(told: Told, server: DnsServer) -> None:
    server.put(SERVICE, "SRV", "0 1 443 a.test.")
    told.by_dns(services_of(SERVICE, "https", POLICY), server)
    await told.round()
    assert told.sets == [(Found("https://a.test:443", "a.test", 1, 0),)]


async def test_another_weight_or_priority_is_news(told: Told, server: DnsServer) -> None:
    told.by_dns(services_of(SERVICE, "http", POLICY), server)
    for record in ("0 1 80 a.test.", "0 2 80 a.test.", "1 2 80 a.test."):
        server.put(SERVICE, "SRV", record)
        await told.round()
    assert [(one.weight, one.priority) for (one,) in told.sets[-3:]] == [(1, 0), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("labels", "port", "why"),
    [
        ([b"169", b"254", b"169", b"254"], 80, f"169.254.169.254 {LINK_LOCAL}"),
        ([b"127", b"1"], 80, "127.1 is an ambiguous spelling of an IPv4 address"),
        ([b"a\r\nHost: b", b"test"], 80, r"a\013\010host:\032b.test is no host with a port"),
        ([b"a/b", b"test"], 80, "a/b.test is no host with a port"),
        ([b"user@a", b"test"], 80, r"user\@a.test is no host with a port"),
        ([b"a.b", b"test"], 80, r"a\.b.test is no host with a port"),
        ([b"\xc3\xa4", b"test"], 80, r"\195\164.test is no host with a port"),
        ([b"a", b"test"], 0, "a.test is no host with a port"),
        ([], 80, ". is no host with a port"),
    ],
)
async def test_a_target_that_is_no_host_is_left_out(
    labels: list[bytes], port: int, why: str, told: Told, server: DnsServer
) -> None:
    target = dns.name.Name([*labels, b""])
    server.put(SERVICE, "SRV", f"0 1 {port} {target.to_text()}")
    told.by_dns(services_of(SERVICE, "http", POLICY), server)
    await told.round()
    assert told.sets == []
    assert told.reports == [f"{SERVICE}: there are no endpoints yet: left out: {why}"]
