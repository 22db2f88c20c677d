"""Acceptor of TLS connections: plain HTTP, handshakes that do not end, and their number."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import trustme

from tests.support.certificates import trusting, workload_certificate
from tests.support.client import RawClient
from tests.support.exchange import POST
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.refusal import assert_error
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import eventually

OK = json_reply({"served": True})
SPIFFE = "spiffe://prod.internal/ns/team-a/sa/app"


async def served(gateway: RunningGateway, authority: trustme.CA) -> int:
    """Return the status of a request over TLS."""
    async with RawClient(gateway.port, tls=trusting(authority)) as client:
        await client.send(POST)
        return (await client.read_response()).status


async def test_plain_http_is_answered_and_logged_once(
    start_gateway: StartGateway, authority: trustme.CA, tls: dict[str, Any]
) -> None:
    async with ScriptedUpstream(OK) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server={"tls": tls}))
        for _ in range(3):
            async with RawClient(gateway.port) as client:
                await client.send(POST)
                response = await client.read_response()
            assert_error(response, 400, code="plain_http")
            assert b"https://" in response.body
        assert await served(gateway, authority) == 200
        refused = gateway.server.listener.refusals
        await eventually(lambda: refused["plain_http"] == 3, patience_s=20)
    [line] = [line for line in gateway.log.lines if line["event"] == "tls"]
    assert line["reason"] == "a client speaks plain HTTP to the TLS listener"


async def test_handshakes_count_as_connections_and_have_a_time_limit(
    start_gateway: StartGateway, authority: trustme.CA, tls: dict[str, Any]
) -> None:
    server = {"tls": tls, "max_connections": 2, "header_timeout": "3s"}
    async with ScriptedUpstream(OK) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=server))
        listener = gateway.server.listener
        silent = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(2)]
        silent[1].send(b"\x16\x03\x01")
        await eventually(lambda: listener.handshakes == 2, patience_s=20)
        with socket.create_connection(("127.0.0.1", gateway.port)) as third:
            third.setblocking(False)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(20):
                assert await loop.sock_recv(third, 1) == b""
        assert listener.refusals["too_many_connections"] == 1
        await eventually(lambda: listener.handshakes == 0, patience_s=20)
        assert listener.refusals["tls_handshake"] == 2
        assert await served(gateway, authority) == 200
        for one in silent:
            one.close()


async def test_a_client_that_leaves_at_once_leaves_nothing(
    start_gateway: StartGateway, authority: trustme.CA, tls: dict[str, Any]
) -> None:
    async with ScriptedUpstream(OK) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server={"tls": tls}))
        for data in (b"", b"\x16", b"\x00\x00", b"SSH-2.0-x\r\n"):
            with socket.create_connection(("127.0.0.1", gateway.port)) as client:
                client.send(data)
        assert await served(gateway, authority) == 200
        listener = gateway.server.listener
        await eventually(lambda: listener.handshakes == 0, patience_s=20)
        await eventually(lambda: listener.open_connections == 0, patience_s=20)
        assert not [line for line in gateway.log.lines if line["level"] == "error"]


async def test_a_renewed_authority_of_clients_replaces_the_one_before(
    start_gateway: StartGateway, authority: trustme.CA, tls: dict[str, Any], tmp_path: Path
) -> None:
    old, new = trustme.CA(), trustme.CA()
    authorities = tmp_path / "clients.pem"
    old.cert_pem.write_to_path(str(authorities))
    shown = {
        ca: workload_certificate(ca, SPIFFE, tmp_path / f"client-{number}.pem")
        for number, ca in enumerate((old, new))
    }
    options = {**tls, "client_ca": str(authorities), "client_certificate": "required"}

    async def accepted(ca: trustme.CA) -> bool:
        try:
            async with RawClient(gateway.port, tls=trusting(authority, shown=shown[ca])) as client:
                await client.send(POST)
                return (await client.read_response()).status == 200
        except (OSError, AssertionError):
            return False

    async with ScriptedUpstream(OK) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server={"tls": options}))
        assert await accepted(old)
        assert not await accepted(new)
        fresh = tmp_path / "fresh.pem"
        new.cert_pem.write_to_path(str(fresh))
        fresh.replace(authorities)
        await gateway.wait_for_log(lambda line: line["event"] == "tls")
        assert await accepted(new)
        assert not await accepted(old)
