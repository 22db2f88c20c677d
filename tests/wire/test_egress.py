"""Backends and issuers behind a proxy: HTTP CONNECT, SOCKS5, with credentials and exceptions."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from gateway.auth.key_sets import http_fetch
from gateway.cli.doctor.finding import CheckResult
from gateway.cli.doctor.upstreams import upstreams
from gateway.config import load_text
from gateway.http.egress import Proxy
from gateway.upstream.health import EndpointState
from tests.support.exchange import POST, ask
from tests.support.gateway import StartGateway, simple_config
from tests.support.peers import state_of
from tests.support.proxies import OUTGOING, PASSWORD, USER, http_proxy, socks_proxy
from tests.support.refusal import assert_error
from tests.support.upstream import (
    ScriptedUpstream,
    UpstreamConnection,
    json_reply,
    raw_reply,
    reply,
)
from tests.support.waiting import eventually

OK = json_reply({"served": True})


@pytest.fixture(params=["http", "socks5"])
async def proxy(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """URL of a running proxy, whose credential is in the environment."""
    monkeypatch.setenv("PROXY_PASSWORD", PASSWORD)
    async with http_proxy(tmp_path) if request.param == "http" else socks_proxy() as url:
        yield url


def through(proxy: str, **more: Any) -> dict[str, Any]:
    """Return a `proxy` setting with the credential."""
    return {"url": proxy, "username": USER, "password": {"env": "PROXY_PASSWORD"}, **more}


async def reports_its_peer(connection: UpstreamConnection) -> None:
    """Answer each request with the address from which it came."""
    while True:
        await connection.read_request()
        host = connection.raw_socket().getpeername()[0]
        await connection.send(reply(b'{"from":"%b"}' % host.encode()))


async def test_an_upstream_is_reached_through_its_proxy(
    start_gateway: StartGateway, proxy: str
) -> None:
    async with ScriptedUpstream(reports_its_peer) as upstream:
        url = upstream.url.replace("127.0.0.1", "localhost")
        gateway = await start_gateway(simple_config(url, upstream={"proxy": through(proxy)}))
        for _ in range(2):
            response = await ask(gateway.port, POST)
            assert (response.status, response.json()) == (200, {"from": OUTGOING})
        assert len(upstream.connections) == 1  # a tunnel is kept like any connection


async def test_tls_is_spoken_with_the_upstream_not_with_the_proxy(
    start_gateway: StartGateway, proxy: str, tmp_path: Path
) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with ScriptedUpstream(OK, tls=context) as upstream:
        options = {"proxy": through(proxy), "tls": {"ca": str(ca)}}
        gateway = await start_gateway(simple_config(upstream.url, upstream=options))
        assert (await ask(gateway.port, POST)).status == 200
        assert upstream.server_names == ["localhost"]


async def test_a_host_in_no_proxy_is_reached_directly(
    start_gateway: StartGateway, proxy: str
) -> None:
    async with ScriptedUpstream(reports_its_peer) as upstream:
        options = {"proxy": through(proxy, no_proxy=["127.0.0.0/8"])}
        gateway = await start_gateway(simple_config(upstream.url, upstream=options))
        assert (await ask(gateway.port, POST)).json() == {"from": "127.0.0.1"}


async def test_a_proxy_that_refuses_the_credential_is_502_without_it_in_the_log(
    start_gateway: StartGateway, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", "wr0ng-pass")
    async with ScriptedUpstream(OK) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"proxy": through(proxy)})
        )
        assert_error(await ask(gateway.port, POST), 502, code="upstream_connect_failed")
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert "proxy 127.0.0.1" in line["reason"]
        assert "wr0ng-pass" not in str(line)
        assert upstream.connections == []


async def test_a_proxy_that_is_not_there_is_502(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(OK) as upstream:
        options = {"proxy": {"url": "http://127.0.0.1:9"}}
        gateway = await start_gateway(simple_config(upstream.url, upstream=options))
        assert_error(await ask(gateway.port, POST), 502, code="upstream_connect_failed")


async def test_a_refused_address_is_not_asked_of_the_proxy(
    start_gateway: StartGateway, proxy: str
) -> None:
    options = {"proxy": through(proxy), "endpoints": [{"url": "http://metadata.internal"}]}
    document = simple_config("http://127.0.0.1:1", upstream=options)
    gateway = await start_gateway(document)
    # The name is looked up by the proxy, and is not known there.
    assert_error(await ask(gateway.port, POST), 502, code="upstream_connect_failed")


async def test_health_checks_use_the_proxy_too(start_gateway: StartGateway, proxy: str) -> None:
    async with ScriptedUpstream(reports_its_peer) as upstream:
        health = {"path": "/health", "interval": "20ms", "body": OUTGOING, "unhealthy": 1}
        options = {"proxy": through(proxy), "health": health}
        gateway = await start_gateway(simple_config(upstream.url, upstream=options))
        await eventually(lambda: len(upstream.requests) >= 2)
        assert state_of(gateway, upstream.url) is EndpointState.HEALTHY


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_the_proxy_of_the_environment_is_used_where_that_is_configured(
    start_gateway: StartGateway, proxy: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "HTTP_PROXY" and "socks" in proxy:
        proxy = proxy.replace("socks5", "socks5h")
    scheme, _, address = proxy.partition("://")
    monkeypatch.setenv(name, f"{scheme}://{USER}:{PASSWORD}@{address}")
    monkeypatch.setenv("NO_PROXY", "")
    async with ScriptedUpstream(reports_its_peer) as upstream:
        options = {"proxy": "environment"}
        gateway = await start_gateway(simple_config(upstream.url, upstream=options))
        assert (await ask(gateway.port, POST)).json() == {"from": OUTGOING}
        without = await start_gateway(simple_config(upstream.url))
        assert (await ask(without.port, POST)).json() == {"from": "127.0.0.1"}


async def test_an_upstream_that_wants_a_certificate_gets_the_gateways(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    authority = trustme.CA()
    ca, own = tmp_path / "ca.pem", tmp_path / "own.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("gateway.internal").private_key_and_cert_chain_pem.write_to_path(str(own))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    async with ScriptedUpstream(OK, tls=context) as upstream:
        tls = {"ca": str(ca)}
        without = await start_gateway(simple_config(upstream.url, upstream={"tls": tls}))
        assert (await ask(without.port, POST)).status == 502
        tls |= {"cert": str(own), "key": str(own)}
        gateway = await start_gateway(simple_config(upstream.url, upstream={"tls": tls}))
        assert (await ask(gateway.port, POST)).status == 200


async def test_the_keys_of_an_issuer_are_fetched_through_its_proxy(proxy: str) -> None:
    keys = raw_reply(lambda _: reply(b'{"keys":[]}'))
    async with ScriptedUpstream(keys) as issuer:
        url = f"{issuer.url}/jwks"
        fetch = http_fetch(None, Proxy.parse(proxy, USER, PASSWORD))
        assert await fetch(url) == b'{"keys":[]}'
        with pytest.raises(OSError, match="proxy 127"):
            await http_fetch(None, Proxy.parse(proxy, USER, "wr0ng"))(url)
        assert len(issuer.requests) == 1


async def test_the_doctor_looks_through_the_proxy(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = raw_reply(lambda _: reply(b'{"object":"list","data":[{"id":"m"}]}'))
    async with ScriptedUpstream(models) as upstream:
        document = simple_config(upstream.url, upstream={"proxy": through(proxy)})
        text = yaml.safe_dump(document)
        found = [one async for one in upstreams(load_text(text))]
        assert "reached through the proxy" in found[0].text
        assert found[0].verdict is CheckResult.OK
        monkeypatch.setenv("PROXY_PASSWORD", "wr0ng")
        (refused,) = [one async for one in upstreams(load_text(text))]
        assert refused.verdict is CheckResult.FAILED
        assert "check `proxy`" in refused.remedy
