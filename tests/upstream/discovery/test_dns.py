"""Endpoints found by DNS, as the answers change and fail (U14, X5)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path

import dns.asyncresolver
import dns.name
import pytest

from gateway.http.address_policy import AddressPolicy
from gateway.upstream.discovery import dns as dns_discovery
from gateway.upstream.discovery.dns import DnsSource
from gateway.upstream.discovery.records import addresses_of
from gateway.upstream.discovery.source import Found
from tests.support.discovery import LINK_LOCAL, POLICY, Told
from tests.support.dns import DnsServer, Fault
from tests.support.waiting import PATIENCE_S


async def test_every_address_of_a_host_is_an_endpoint(told: Told, server: DnsServer) -> None:
    server.put("vllm.test", "A", "10.0.0.6", "10.0.0.5")
    server.put("vllm.test", "AAAA", "fd00::5")
    told.by_dns(addresses_of("https://vllm.test:8443/base", POLICY), server)
    await told.round()
    assert told.sets == [
        (
            Found("https://10.0.0.5:8443/base", "vllm.test:8443"),
            Found("https://10.0.0.6:8443/base", "vllm.test:8443"),
            Found("https://[fd00::5]:8443/base", "vllm.test:8443"),
        )
    ]
    assert told.reports == []


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
async def test_a_port_that_is_not_said_is_the_scheme_s(
    scheme: str, port: int, told: Told, server: DnsServer
) -> None:
    server.put("vllm.test", "A", "10.0.0.5")
    told.by_dns(addresses_of(f"{scheme}://vllm.test", POLICY), server)
    await told.round()
    assert told.sets == [(Found(f"{scheme}://10.0.0.5:{port}", "vllm.test"),)]


async def test_aliases_are_followed(told: Told, server: DnsServer) -> None:
    server.put("vllm.test", "CNAME", "real.test.", ttl_s=7)
    server.put("real.test", "A", "10.0.0.5", ttl_s=70)
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    assert await told.round() == 7
    assert told.sets == [(Found("http://10.0.0.5:80", "vllm.test"),)]


async def test_addresses_come_and_go(told: Told, server: DnsServer) -> None:
    server.put("vllm.test", "A", "10.0.0.5")
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    server.put("vllm.test", "A", "10.0.0.5", "10.0.0.6")
    await told.round()
    assert told.urls == ["http://10.0.0.5:80", "http://10.0.0.6:80"]
    server.put("vllm.test", "A", "10.0.0.6")
    await told.round()
    assert told.urls == ["http://10.0.0.6:80"]
    server.put("vllm.test", "A")
    server.put("vllm.test", "AAAA", "fd00::5")
    await told.round()
    assert told.urls == ["http://[fd00::5]:80"]
    assert told.reports == []


async def test_the_same_addresses_in_another_order_are_no_news(
    told: Told, server: DnsServer
) -> None:
    server.put("vllm.test", "A", "10.0.0.5", "10.0.0.6")
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    server.put("vllm.test", "A", "10.0.0.6", "10.0.0.5")
    await told.round()
    assert len(told.sets) == 1


async def test_an_answer_too_long_for_udp_is_fetched_by_tcp(told: Told, server: DnsServer) -> None:
    server.put("vllm.test", "A", *(f"10.0.1.{number}" for number in range(200)))
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    assert len(told.urls) == 200
    assert ("vllm.test", "A", "tcp") in server.asked


@pytest.mark.parametrize(
    ("ttls_s", "pause_s"),
    [((60, 30), 30), ((30, 60), 30), ((0, 60), 1), ((86400, 86400), 300), ((2, None), 2)],
)
async def test_it_is_asked_again_when_the_first_answer_is_over(
    ttls_s: tuple[int, int | None], pause_s: float, told: Told, server: DnsServer
) -> None:
    for kind, value, ttl_s in zip(("A", "AAAA"), ("10.0.0.5", "fd00::5"), ttls_s, strict=True):
        if ttl_s is not None:
            server.put("vllm.test", kind, value, ttl_s=ttl_s)
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    assert await told.round() == pause_s


async def test_it_is_not_asked_again_before(told: Told, server: DnsServer) -> None:
    server.put("vllm.test", "A", "10.0.0.5")
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    assert [kind for _, kind, _ in server.asked] == ["A", "AAAA"]


async def test_by_itself_it_goes_by_the_clock(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_discovery, "TTL_S", (0.001, 0.001))
    server.put("vllm.test", "A", "10.0.0.5")
    sets: asyncio.Queue[Sequence[Found]] = asyncio.Queue()
    source = DnsSource(
        addresses_of("http://vllm.test", POLICY),
        changed=sets.put_nowait,
        report=lambda _: None,
        nameservers=[server.address],
    )
    source.start()
    async with asyncio.timeout(PATIENCE_S):
        assert len(await sets.get()) == 1
        server.put("vllm.test", "A", "10.0.0.5", "10.0.0.6")
        assert len(await sets.get()) == 2
    source.close()


async def test_a_closed_source_asks_and_tells_nothing_more(told: Told, server: DnsServer) -> None:
    server.put("vllm.test", "A", "10.0.0.5")
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    asked = len(server.asked)
    (source,) = told.sources
    source.close()
    source.close()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await told.round()
    assert len(server.asked) == asked


async def test_it_can_be_closed_while_a_question_is_under_way(
    told: Told, server: DnsServer
) -> None:
    silent(server)
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await server.wait_for("vllm.test", "AAAA")
    told.sources[0].close()
    await asyncio.sleep(0)
    assert told.reports == []


def servfail(server: DnsServer) -> None:
    server.faults["vllm.test", ""] = Fault.SERVFAIL


def silent(server: DnsServer) -> None:
    server.faults["vllm.test", ""] = Fault.SILENT


def garbage(server: DnsServer) -> None:
    server.faults["vllm.test", ""] = Fault.GARBAGE


def no_such_name(server: DnsServer) -> None:
    server.forget("vllm.test")


def no_such_type(server: DnsServer) -> None:
    server.put("vllm.test", "A")


@pytest.mark.parametrize(
    ("break_it", "lifetime_s", "why"),
    [
        (servfail, 5.0, "A, AAAA: Do53:127.0.0.1@PORT: SERVFAIL"),
        (silent, 0.1, "A, AAAA: no answer within 0.1 s"),
        (garbage, 0.1, "A, AAAA: no answer within 0.1 s"),
        (no_such_name, 5.0, "DNS has no records"),
        (no_such_type, 5.0, "DNS has no records"),
    ],
)
async def test_without_an_answer_the_endpoints_stay_and_it_is_said_once(
    break_it: Callable[[DnsServer], None],
    lifetime_s: float,
    why: str,
    told: Told,
    server: DnsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.put("vllm.test", "A", "10.0.0.5")
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    why = why.replace("PORT", str(server.port))
    for _ in range(2):
        break_it(server)
        with monkeypatch.context() as patch:
            patch.setattr(dns_discovery, "LIFETIME_S", lifetime_s)
            await told.round()
            await told.round()
        assert told.reports == [f"vllm.test: the endpoints stay as they were: {why}"]
        server.faults.clear()
        server.put("vllm.test", "A", "10.0.0.5")
        await told.round()
        assert told.reports[1:] == ["vllm.test: all is well again"]
        told.reports.clear()
    assert len(told.sets) == 1


async def test_before_the_first_answer_there_are_none(told: Told, server: DnsServer) -> None:
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    assert told.sets == []
    assert told.reports == ["vllm.test: there are no endpoints yet: DNS has no records"]
    server.put("vllm.test", "A", "10.0.0.5")
    await told.round()
    assert told.urls == ["http://10.0.0.5:80"]


async def test_after_failures_it_is_asked_again_ever_later(told: Told, server: DnsServer) -> None:
    servfail(server)
    server.put("vllm.test", "A", "10.0.0.5", ttl_s=60)
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    assert [await told.round() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    server.faults.clear()
    assert await told.round() == 60
    servfail(server)
    assert [await told.round() for _ in range(2)] == [1, 2]


async def test_another_trouble_is_said_too(told: Told, server: DnsServer) -> None:
    server.put("vllm.test", "A", "10.0.0.5")
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    server.forget("vllm.test")
    await told.round()
    servfail(server)
    await told.round()
    assert [report.rpartition(" ")[2] for report in told.reports] == ["records", "SERVFAIL"]


async def test_of_two_types_the_one_that_fails_stays_and_the_other_goes_on(
    told: Told, server: DnsServer
) -> None:
    server.put("vllm.test", "A", "10.0.0.5")
    server.put("vllm.test", "AAAA", "fd00::5")
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    server.faults["vllm.test", "AAAA"] = Fault.SERVFAIL
    server.put("vllm.test", "A", "10.0.0.6", ttl_s=3)
    assert await told.round() == 1
    assert told.urls == ["http://10.0.0.6:80", "http://[fd00::5]:80"]
    (report,) = told.reports
    assert report.startswith("vllm.test: what is known of these stays: AAAA: ")
    assert [await told.round() for _ in range(3)] == [2, 3, 3], "never later than the TTL"


async def test_an_empty_answer_beside_a_failure_is_not_believed(
    told: Told, server: DnsServer
) -> None:
    server.put("vllm.test", "A", "10.0.0.5")
    server.put("vllm.test", "AAAA", "fd00::5")
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    server.forget("vllm.test")
    server.faults["vllm.test", "AAAA"] = Fault.SERVFAIL
    await told.round()
    assert len(told.sets) == 1


async def test_a_name_that_cannot_be_asked_for_is_a_failure(told: Told, server: DnsServer) -> None:
    told.by_dns(addresses_of(f"http://{'a' * 64}.test", POLICY), server)
    assert await told.round() == 1
    assert "octets long" in told.reports[0]


async def test_a_refused_address_is_left_out_and_said_once(told: Told, server: DnsServer) -> None:
    server.put("vllm.test", "A", "10.0.0.5", "169.254.169.254", "0.0.0.0")
    server.put("vllm.test", "AAAA", "::ffff:169.254.169.254", "64:ff9b::1", "fe80::1")
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    assert await told.round() == 60
    await told.round()
    assert told.urls == ["http://10.0.0.5:80"]
    (report,) = told.reports
    assert report.startswith("vllm.test: left out: 0.0.0.0 is unspecified")
    assert report.endswith(", and 2 more")
    server.put("vllm.test", "A", "10.0.0.5")
    server.put("vllm.test", "AAAA")
    await told.round()
    assert told.reports[1:] == ["vllm.test: all is well again"]


async def test_a_name_that_is_rebound_to_the_metadata_address_keeps_its_endpoints(
    told: Told, server: DnsServer
) -> None:
    server.put("vllm.test", "A", "10.0.0.5")
    told.by_dns(addresses_of("http://vllm.test", POLICY), server)
    await told.round()
    server.put("vllm.test", "A", "169.254.169.254", ttl_s=0)
    assert [await told.round() for _ in range(2)] == [1, 1]
    assert told.urls == ["http://10.0.0.5:80"]
    assert told.reports == [
        "vllm.test: the endpoints stay as they were: left out: 169.254.169.254 " + LINK_LOCAL
    ]


async def test_an_allowed_address_is_an_endpoint(told: Told, server: DnsServer) -> None:
    server.put("vllm.test", "A", "169.254.7.1", "169.254.169.254")
    policy = AddressPolicy([ipaddress.ip_network("169.254.7.0/24")])
    told.by_dns(addresses_of("http://vllm.test", policy), server)
    await told.round()
    assert told.urls == ["http://169.254.7.1:80"]


class OnPort(DnsSource):
    """Asks the servers in resolv.conf at another port than 53."""

    port = 0

    def resolver(self) -> dns.asyncresolver.Resolver:
        resolver = super().resolver()
        resolver.port = self.port
        return resolver


async def test_servers_and_search_list_are_those_of_resolv_conf_as_it_is_now(
    told: Told, server: DnsServer, tmp_path: Path
) -> None:
    server.put("vllm.svc.test", "A", "10.0.0.5")
    resolv_conf = tmp_path / "resolv.conf"
    source = OnPort(
        addresses_of("http://vllm", POLICY),
        changed=told.sets.append,
        report=told.reports.append,
        resolv_conf=resolv_conf,
        pause=told.pause,
    )
    source.port = server.port
    told.start(source)
    for text in (None, b"", b"nameserver nobody\n", b"\xff"):
        if text is not None:
            resolv_conf.write_bytes(text)
        await told.round()
    assert told.reports == [
        f"vllm: there are no endpoints yet: A, AAAA: resolv.conf: cannot open {resolv_conf}"
    ]
    resolv_conf.write_text("search none.test svc.test\nnameserver 127.0.0.1\n")
    await told.round()
    assert told.sets == [(Found("http://10.0.0.5:80", "vllm"),)]
