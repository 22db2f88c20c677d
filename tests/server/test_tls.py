"""TLS of the public listener: its certificate, its renewal, and the certificates of clients."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.config.models import ListenerTls
from gateway.server.tls import CertificateFiles, server_context
from tests.support.certificates import trusting, workload_certificate
from tests.support.client import RawClient, request
from tests.support.exchange import EVENTS, POST, read_stream
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.refusal import assert_error
from tests.support.upstream import ScriptedUpstream, json_reply, sse_reply

OK = json_reply({"served": True})
SPIFFE = "spiffe://prod.internal/ns/team-a/sa/app"


def config(upstream: str, tls: dict[str, Any], **sections: Any) -> dict[str, Any]:
    document = simple_config(upstream)
    document.setdefault("server", {})["tls"] = tls
    return document | sections


async def test_requests_and_streams_are_served_over_tls(
    start_gateway: StartGateway, authority: trustme.CA, tls: dict[str, Any]
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream.url, tls))
        async with RawClient(gateway.port, tls=trusting(authority)) as client:
            for _ in range(2):
                await client.send(POST)
                assert (await client.read_head()).status == 200
                received, _ = await read_stream(client)
                assert received == b"".join(EVENTS)
        told = {name.lower(): value for name, value in upstream.requests[0].headers}
        assert told[b"x-forwarded-proto"] == b"https"


async def test_the_listener_offers_http_1_and_no_version_below_the_configured(
    start_gateway: StartGateway, authority: trustme.CA, tls: dict[str, Any]
) -> None:
    async with ScriptedUpstream(OK) as upstream:
        gateway = await start_gateway(config(upstream.url, {**tls, "min_version": "1.3"}))
        context = trusting(authority)
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await asyncio.open_connection(
            "127.0.0.1", gateway.port, ssl=context, server_hostname="localhost"
        )
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with RawClient(gateway.port, tls=context):
                pass


async def test_a_renewed_certificate_is_served_to_new_connections(
    authority: trustme.CA, tls: dict[str, Any], tmp_path: Path
) -> None:
    options = ListenerTls(**tls)
    context = server_context(options)
    told: list[str] = []
    files = CertificateFiles(context, options, told.append)
    files.look()
    assert told == []
    Path(tls["cert"]).write_text("not a certificate")
    files.look()
    assert "cannot be used" in told.pop()
    assert _served(context, authority) == "localhost"
    renewed = authority.issue_cert("localhost", "renewed.internal")
    renewed.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "new.pem"))
    os.replace(tmp_path / "new.pem", tls["cert"])
    files.look()
    assert told == ["server.tls: serves the renewed certificate"]
    assert "renewed.internal" in _names(files.context, authority)


def _names(context: ssl.SSLContext, authority: trustme.CA) -> list[str]:
    """Return the DNS names in the certificate that a server with this context shows."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(authority).wrap_bio(into, out, server_hostname="localhost")
    server = context.wrap_bio(out, into, server_side=True)
    done = 0
    for _ in range(10):
        for one in (client, server):
            try:
                one.do_handshake()
            except ssl.SSLWantReadError:
                continue
            done += 1
        if done >= 2:
            break
    shown = client.getpeercert()
    assert shown is not None
    names: Any = shown["subjectAltName"]
    return [value for kind, value in names if kind == "DNS"]


def _served(context: ssl.SSLContext, authority: trustme.CA) -> str:
    return _names(context, authority)[0]


# -- client certificates ---------------------------------------------------------------------


def guarded(upstream: str, tls: dict[str, Any], **provider: Any) -> dict[str, Any]:
    """Return a configuration whose route accepts client certificates."""
    auth = {"mesh": {"type": "client_certificate", **provider}}
    document = config(upstream, tls, auth=auth)
    document["routes"][0]["auth"] = ["mesh"]
    return document


@pytest.fixture
def mutual(tls: dict[str, Any], authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    """The listener's settings, which ask for certificates of the same authority."""
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    return {**tls, "client_ca": str(ca)}


@pytest.fixture
def workload(authority: trustme.CA, tmp_path: Path) -> Path:
    """File with the certificate of a workload, and its key."""
    return workload_certificate(authority, SPIFFE, tmp_path / "workload.pem")


async def asked(gateway: RunningGateway, context: ssl.SSLContext) -> Any:
    async with RawClient(gateway.port, tls=context) as client:
        await client.send(POST)
        return await client.read_response()


async def test_a_client_certificate_says_who_the_caller_is(
    start_gateway: StartGateway, authority: trustme.CA, mutual: dict[str, Any], workload: Path
) -> None:
    async with ScriptedUpstream(OK) as upstream:
        options = {"allow": ["spiffe://prod.internal/*"], "tenant": "trust_domain"}
        gateway = await start_gateway(guarded(upstream.url, mutual, **options))
        context = trusting(authority, shown=workload)
        assert (await asked(gateway, context)).status == 200
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert (line["subject"], line["tenant"]) == (SPIFFE, "prod.internal")


async def test_a_certificate_that_is_not_allowed_is_401_and_so_is_none(
    start_gateway: StartGateway, authority: trustme.CA, mutual: dict[str, Any], tmp_path: Path
) -> None:
    async with ScriptedUpstream(OK) as upstream:
        options = {"allow": ["spiffe://prod.internal/*"]}
        gateway = await start_gateway(guarded(upstream.url, mutual, **options))
        other = workload_certificate(
            authority, "spiffe://test.internal/app", tmp_path / "other.pem"
        )
        for context in (trusting(authority, shown=other), trusting(authority)):
            response = await asked(gateway, context)
            assert_error(response, 401)
            assert b"test.internal" not in response.body
        assert upstream.requests == []


async def test_without_a_certificate_nobody_connects_where_one_is_required(
    start_gateway: StartGateway, authority: trustme.CA, mutual: dict[str, Any]
) -> None:
    async with ScriptedUpstream(OK) as upstream:
        document = guarded(upstream.url, {**mutual, "client_certificate": "required"})
        gateway = await start_gateway(document)
        with pytest.raises((ConnectionError, ssl.SSLError, AssertionError)):
            await asked(gateway, trusting(authority))
        assert upstream.requests == []


async def test_a_certificate_of_another_authority_is_refused(
    start_gateway: StartGateway, authority: trustme.CA, mutual: dict[str, Any], tmp_path: Path
) -> None:
    async with ScriptedUpstream(OK) as upstream:
        gateway = await start_gateway(guarded(upstream.url, mutual))
        stranger = workload_certificate(trustme.CA(), SPIFFE, tmp_path / "stranger.pem")
        with pytest.raises((ConnectionError, ssl.SSLError, AssertionError)):
            await asked(gateway, trusting(authority, shown=stranger))
        assert upstream.requests == []


async def test_a_credential_in_a_header_comes_before_the_certificate(
    start_gateway: StartGateway, authority: trustme.CA, mutual: dict[str, Any], workload: Path
) -> None:
    async with ScriptedUpstream(OK) as upstream:
        gateway = await start_gateway(guarded(upstream.url, mutual))
        raw = request("POST", headers=["Authorization: Bearer nobody"], body=b"{}")
        context = trusting(authority, shown=workload)
        async with RawClient(gateway.port, tls=context) as client:
            await client.send(raw)
            assert_error(await client.read_response(), 401)
