"""Endpoints listed in a file."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.address_policy import AddressPolicy
from gateway.upstream.discovery import file as file_discovery
from gateway.upstream.discovery.file import BadEndpointFile
from gateway.upstream.discovery.source import Found
from tests.support.discovery import LINK_LOCAL, POLICY, Told


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
