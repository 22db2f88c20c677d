"""Endpoints that are found: by DNS, as the answers change and fail, and in a file (U14, X5)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import dns.asyncresolver
import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address_policy import AddressPolicy
from gateway.upstream.discovery import dns as dns_discovery
from gateway.upstream.discovery import file as file_discovery
from gateway.upstream.discovery.dns import DnsSource
from gateway.upstream.discovery.file import BadEndpointFile, FileSource
from gateway.upstream.discovery.records import Question, addresses_of, services_of
from gateway.upstream.discovery.source import Found, Latest, Source
from tests.support.dns import DnsServer, Fault

POLICY = AddressPolicy()
LINK_LOCAL = "is link-local, where clouds keep their metadata"
_PATIENCE_S = 5.0


class Told:
    """What a source told, and its pauses, which end when the test says so."""

    def __init__(self) -> None:
        self.sets: list[Sequence[Found]] = []
        self.reports: list[str] = []
        self.sources: list[Source] = []
        self._pauses: asyncio.Queue[float] = asyncio.Queue()
        self._go = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        self._go.clear()
        self._pauses.put_nowait(seconds)
        await self._go.wait()

    async def round(self) -> float:
        """Let it look once (more); how long it wants to pause then."""
        self._go.set()
        async with asyncio.timeout(_PATIENCE_S):
            return await self._pauses.get()

    @property
    def urls(self) -> list[str]:
        """The endpoints as it told of them last."""
        return [one.url for one in self.sets[-1]] if self.sets else []

    def by_dns(self, question: Question, server: DnsServer) -> None:
        """Follow a question."""
        source = DnsSource(
            question,
            changed=self.sets.append,
            report=self.reports.append,
            nameservers=[server.address],
            pause=self.pause,
        )
        self.start(source)

    def in_file(self, path: Path, policy: AddressPolicy = POLICY) -> None:
        """Follow a file."""
        self.start(
            FileSource(
                path,
                policy,
                changed=self.sets.append,
                report=self.reports.append,
                pause=self.pause,
            )
        )

    def start(self, source: Source) -> None:
        self.sources.append(source)
        source.start()


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    for source in told.sources:
        source.close()


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        yield server


# -- addresses ---------------------------------------------------------------------------------


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


# -- when it is asked again --------------------------------------------------------------------


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
    async with asyncio.timeout(_PATIENCE_S):
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


def test_a_source_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    question = addresses_of("http://vllm.test", POLICY)
    DnsSource(question, changed=print, report=print).close()
    FileSource(tmp_path / "none", POLICY, changed=print, report=print).close()


# -- failures ----------------------------------------------------------------------------------


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
            patch.setattr(dns_discovery, "_LIFETIME_S", lifetime_s)
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


# -- addresses no endpoint may have ------------------------------------------------------------


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


# -- services ----------------------------------------------------------------------------------

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


# -- the system's resolver ---------------------------------------------------------------------


class OnPort(DnsSource):
    """Asks the servers in resolv.conf at another port than 53."""

    port = 0

    def _resolver(self) -> dns.asyncresolver.Resolver:
        resolver = super()._resolver()
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


# -- in a file ---------------------------------------------------------------------------------


def put(path: Path, data: str | bytes) -> None:
    """In place, all at once."""
    new = path.with_name("new")
    new.write_bytes(data if isinstance(data, bytes) else data.encode())
    os.replace(new, path)


ONE = "endpoints: [{url: 'http://10.0.0.5:8000'}]\n"


async def test_a_yaml_file_lists_endpoints(told: Told, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(
        "endpoints:\n"
        "  - {url: http://b.test:8000, priority: 2}\n"
        "  - url: https://a.test/base\n"
        "    weight: 3\n"
        "  - url: http://[fd00::5]:8000\n"
    )
    told.in_file(path)
    assert await told.round() == 0.5
    assert told.sets == [
        (
            Found("http://[fd00::5]:8000", "[fd00::5]:8000"),
            Found("https://a.test/base", "a.test", 3),
            Found("http://b.test:8000", "b.test:8000", 1, 2),
        )
    ]


async def test_so_does_a_json_file(told: Told, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    document = {"endpoints": [{"url": "http://10.0.0.5:8000", "weight": 2, "priority": 1}]}
    path.write_text(json.dumps(document, indent="\t"))
    told.in_file(path)
    await told.round()
    assert told.sets == [(Found("http://10.0.0.5:8000", "10.0.0.5:8000", 2, 1),)]


async def test_a_change_is_seen_however_it_is_made(told: Told, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(ONE)
    told.in_file(path)
    await told.round()
    path.write_text(ONE.replace("10.0.0.5", "10.0.0.55"))
    await told.round()
    assert told.urls == ["http://10.0.0.55:8000"]
    put(path, ONE.replace("10.0.0.5", "10.0.0.66"))
    await told.round()
    assert told.urls == ["http://10.0.0.66:8000"]
    (tmp_path / "other.yaml").write_text(ONE.replace("10.0.0.5", "10.0.0.77"))
    path.unlink()
    path.symlink_to("other.yaml")
    await told.round()
    assert told.urls == ["http://10.0.0.77:8000"]
    assert told.reports == []


async def test_the_file_is_read_only_when_it_changed(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, read = list[Path](), file_discovery.read

    def counted(path: Path, policy: AddressPolicy) -> Sequence[Found]:
        reads.append(path)
        return read(path, policy)

    monkeypatch.setattr(file_discovery, "read", counted)
    path = tmp_path / "endpoints.yaml"
    path.write_text(ONE)
    told.in_file(path)
    for _ in range(3):
        await told.round()
    assert len(reads) == 1
    put(path, ONE)
    await told.round()
    assert len(reads) == 2
    assert len(told.sets) == 1, "the same endpoints are no news"


BAD: list[tuple[str | bytes, str]] = [
    ("", "is not a mapping with `endpoints`"),
    ("- a", "is not a mapping with `endpoints`"),
    ("endpoints: []", "lists no endpoints"),
    ("{}", "endpoints: field required"),
    ("endpoints: {}", "endpoints: input should be a valid list"),
    ("endpoints: [{weight: 1}]", "endpoints[0].url: field required"),
    ("endpoints: [{url: http://a, wait: 1}]", "endpoints[0].wait: extra inputs are not permitted"),
    ("endpoints: []\nmore: 1", "more: extra inputs are not permitted"),
    (
        "endpoints: [{url: http://a}, {url: http://b, weight: '2'}]",
        "endpoints[1].weight: input should be a valid integer",
    ),
    (
        "endpoints: [{url: http://a, weight: 0}]",
        "endpoints[0].weight: input should be greater than or equal to 1",
    ),
    (
        "endpoints: [{url: http://a, priority: -1}]",
        "endpoints[0].priority: input should be greater than or equal to 0",
    ),
    (
        "endpoints: [{url: 10.0.0.5}]",
        "endpoints[0].url: not an endpoint: write http://HOST:PORT or https://HOST",
    ),
    ("endpoints: [{url: 'http://a b'}]", "endpoints[0].url: holds characters that a URL cannot"),
    (
        "endpoints: [{url: http://169.254.169.254}]",
        f"endpoints[0].url: 169.254.169.254 {LINK_LOCAL}",
    ),
    (
        "endpoints: [{url: http://0x7f.1}]",
        "endpoints[0].url: 0x7f.1 is an ambiguous spelling of an IPv4 address",
    ),
    ("endpoints:\n  - {url: http://a", "line 2: not valid YAML: expected ',' or '}', but got"),
    ("endpoints: [{url: 2026-13-01}]", "not valid YAML: month must be in 1..12"),
    (b"endpoints: \xff", "not valid YAML: "),
    ("[" * 500, "not valid YAML: maximum recursion depth"),
    ("#" * (1024 * 1024 + 1), "is larger than 1 MiB"),
]


@pytest.mark.parametrize(("data", "why"), BAD, ids=[why[:40] for _, why in BAD])
async def test_of_a_bad_file_it_is_said_once_what_is_wrong_and_where(
    data: str | bytes, why: str, told: Told, tmp_path: Path
) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(ONE)
    told.in_file(path)
    await told.round()
    for _ in range(2):
        put(path, data)
        await told.round()
    (report,) = told.reports
    assert report.startswith(f"{path}: the endpoints stay as they were: {why}")
    put(path, ONE)
    await told.round()
    assert told.reports[1:] == [f"{path}: all is well again"]
    assert len(told.sets) == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"endpoints":\n[}', "line 2: not valid JSON: "),
        (b"\xff\xff", "not valid JSON: "),
        (b"[" * 100_000, "not valid JSON: "),
    ],
)
def test_bad_json_is_called_so(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    path.write_bytes(data)
    with pytest.raises(BadEndpointFile) as raised:
        file_discovery.read(path, POLICY)
    assert str(raised.value).startswith(why)


async def test_another_fault_in_the_file_is_said_too(told: Told, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text("endpoints: []")
    told.in_file(path)
    await told.round()
    put(path, "endpoints: {}")
    await told.round()
    assert told.reports == [
        f"{path}: there are no endpoints yet: lists no endpoints",
        f"{path}: there are no endpoints yet: endpoints: input should be a valid list",
    ]


async def test_a_file_may_be_missing_for_a_while(told: Told, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    told.in_file(path)
    await told.round()
    await told.round()
    missing = "cannot be read: No such file or directory"
    assert told.reports == [f"{path}: there are no endpoints yet: {missing}"]
    put(path, ONE)
    await told.round()
    assert told.urls == ["http://10.0.0.5:8000"]
    path.unlink()
    await told.round()
    assert told.reports[1:] == [
        f"{path}: all is well again",
        f"{path}: the endpoints stay as they were: {missing}",
    ]
    put(path, ONE)
    await told.round()
    assert len(told.sets) == 1


async def test_a_file_may_list_addresses_that_are_allowed(told: Told, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text("endpoints: [{url: http://100.64.0.1}]")
    told.in_file(path, AddressPolicy([ipaddress.ip_network("100.64.0.0/10")]))
    await told.round()
    assert told.urls == ["http://100.64.0.1"]


pieces = st.sampled_from(
    [
        *"[]{}:,-?!&*#|>%@`\"'\\\n \t",
        "endpoints",
        "url",
        "http://a",
        "!!timestamp",
        "!!int",
        "!!set",
    ]
)


@given(st.one_of(st.binary(), st.lists(pieces).map("".join).map(str.encode)))
def test_whatever_is_in_a_file_it_is_read_or_bad(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    for suffix in (".yaml", ".json"):
        path = tmp_path_factory.getbasetemp() / f"fuzzed{suffix}"
        path.write_bytes(data)
        with contextlib.suppress(BadEndpointFile):
            assert file_discovery.read(path, POLICY)


# -- what is told ------------------------------------------------------------------------------

found = st.builds(
    Found,
    st.sampled_from(["http://a", "http://b", "http://c"]),
    st.sampled_from(["a", "b"]),
    st.integers(1, 3),
    st.integers(0, 2),
)


@given(st.lists(st.lists(found, max_size=4), max_size=5))
def test_what_is_told_is_new_sorted_and_each_url_once_but_never_nothing(
    sets: list[list[Found]],
) -> None:
    told: list[Sequence[Found]] = []
    latest = Latest("x", told.append, lambda _: None)
    for one in sets:
        latest.show(one)
        if one:
            assert {found.url for found in told[-1]} == {found.url for found in one}
            assert set(told[-1]) <= set(one)
            assert told[-1][0].priority == min(found.priority for found in one)
        latest.show(reversed(one))
    for one_set in told:
        assert one_set
        assert len({found.url for found in one_set}) == len(one_set)
        assert [*one_set] == sorted(one_set, key=lambda found: (found.priority, found.url))
    assert all(before != after for before, after in itertools.pairwise(told))
