"""A source of endpoints as the `discover` section asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import load_text, models
from gateway.upstream.discovery.source import Found
from gateway.wiring.discovery import address_policy, source
from tests.support.dns import DnsServer
from tests.support.waiting import PATIENCE_S


def upstream(base: Path, **fields: Any) -> models.UpstreamSettings:
    document = {
        "upstreams": {"a": fields},
        "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "upstream": "a"}],
    }
    return load_text(yaml.safe_dump(document), base=base).upstreams["a"]


async def first(options: models.UpstreamSettings) -> list[str]:
    """The endpoints that are found first."""
    sets: asyncio.Queue[Sequence[Found]] = asyncio.Queue()
    assert options.discover is not None
    policy = address_policy(options)
    one = source(options.discover, policy, changed=sets.put_nowait, report=lambda _: None)
    one.start()
    async with asyncio.timeout(PATIENCE_S):
        found = await sets.get()
    one.close()
    return [endpoint.url for endpoint in found]


@pytest.mark.parametrize(
    ("discover", "expected"),
    [
        ({"dns": "http://vllm.test:8000/base"}, ["http://10.0.0.5:8000/base"]),
        ({"srv": "_http._tcp.vllm.test"}, ["http://a.test:8000"]),
        ({"srv": "_http._tcp.vllm.test", "scheme": "https"}, ["https://a.test:8000"]),
    ],
)
async def test_dns_is_asked_at_the_servers_that_are_named(
    discover: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    async with DnsServer() as server:
        server.put("vllm.test", "A", "10.0.0.5", "169.254.7.1")
        server.put("_http._tcp.vllm.test", "SRV", "0 1 8000 a.test.")
        discover["nameservers"] = [f"127.0.0.1:{server.port}"]
        assert await first(upstream(tmp_path, discover=discover)) == expected


async def test_a_file_is_seen_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "endpoints.yaml").write_text("endpoints: [{url: http://10.0.0.5}]")
    options = upstream(tmp_path, discover={"file": "endpoints.yaml"})
    assert await first(options) == ["http://10.0.0.5"]


async def test_addresses_are_allowed_for_what_is_found_too(tmp_path: Path) -> None:
    (tmp_path / "endpoints.yaml").write_text("endpoints: [{url: http://100.64.0.1}]")
    options = upstream(
        tmp_path, discover={"file": "endpoints.yaml"}, allow_addresses=["100.64.0.0/10"]
    )
    assert await first(options) == ["http://100.64.0.1"]
