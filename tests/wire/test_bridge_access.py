"""Who may open a socket of a bridge, and how much of the limits its generations use."""

from __future__ import annotations

import time

from gateway.auth.jwt import REVOKED
from tests.support.bridge import (
    bridge_client,
    bridged,
    carried,
    endless,
    headers,
    under_way,
)
from tests.support.client import RawClient, ask, request
from tests.support.exchange import EVENTS
from tests.support.gateway import StartGateway
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    ScriptedUpstream,
    UpstreamConnection,
    sse_reply,
)
from tests.support.websocket import frame, opening

KIB = 1024


async def test_generations_are_of_whoever_made_the_handshake(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway({**bridged(upstream.url, auth=["corp"]), "auth": auth})
        response = await ask(
            gateway.port,
            request(
                target="/v1/stream",
                headers=[
                    "Connection: Upgrade",
                    "Upgrade: websocket",
                    "Sec-WebSocket-Version: 13",
                    "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",
                ],
            ),
        )
        assert response.status == 401
        async with bridge_client(gateway.port, **headers(bearer(org="acme"))) as client:
            await client.create("a")
            assert (await client.end_of("a"))[-1]["type"] == "done"
        line = await gateway.wait_for_log(carried)
    assert (line["subject"], line["tenant"]) == ("alice", "acme")
    assert b"Bearer" not in b"".join(value for _, value in upstream.requests[0].headers)


async def test_a_browser_comes_with_a_ticket(start_gateway: StartGateway, auth: Auth) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        config = bridged(upstream.url, auth=["corp"])
        config["routes"][1]["auth"] = ["corp", "tickets"]
        tickets = {
            "name": "tickets",
            "path": "/v1/tickets",
            "methods": ["POST"],
            "auth": ["corp"],
            "issues": "tickets",
        }
        gateway = await start_gateway(
            {
                **config,
                "routes": [*config["routes"], tickets],
                "auth": {**auth, "tickets": {"type": "ticket"}},
            }
        )
        asked = request("POST", "/v1/tickets", headers=[bearer(), "Content-Length: 0"])
        ticket = (await ask(gateway.port, asked, "POST")).json()["ticket"]
        async with bridge_client(gateway.port, f"/v1/stream?ticket={ticket}") as client:
            await client.create("a")
            assert (await client.end_of("a"))[-1]["type"] == "done"
        assert (await gateway.wait_for_log(carried))["subject"] == "alice"


async def test_a_credential_that_expires_ends_the_socket_and_what_it_began(
    start_gateway: StartGateway, auth: Auth
) -> None:
    auth["corp"]["leeway"] = "0s"
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway({**bridged(upstream.url, auth=["corp"]), "auth": auth})
        expires = bearer(exp=time.time() + 1.5)
        async with bridge_client(gateway.port, **headers(expires)) as client:
            await client.create("a")
            heard = await client.end_of("a")
            assert heard[-1]["error"]["code"] == "credential_expired"
            assert (await client.closed())[0] == 3000
        await upstream.connections[0].wait_client_gone()


async def test_a_credential_that_is_revoked_begins_nothing_more(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway({**bridged(upstream.url, auth=["corp"]), "auth": auth})
        async with bridge_client(gateway.port, **headers(bearer(jti="t-1"))) as client:
            records = gateway.server.runtime.stores.records
            await records.put(REVOKED, "t-1", b"", 60.0)
            assert (await client.closed())[0] == 3000
        assert upstream.requests == []


async def test_each_generation_passes_the_limits_of_its_route(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        config = bridged(upstream.url, limits=["few"])
        config["limits"] = {"few": {"key": "ip", "requests": "2/hour", "burst": 2}}
        gateway = await start_gateway(config)
        async with bridge_client(gateway.port) as client:
            for tag in "ab":
                await client.create(tag)
                heard = await client.end_of(tag)
                assert "r=" in heard[0]["rate_limit"]
                assert heard[-1]["type"] == "done"
            await client.create("c")
            (said,) = await client.end_of("c")
    assert (said["status"], said["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 0 < said["retry_after"] <= 3600


async def test_a_generation_holds_its_slot_to_its_end(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(endless) as upstream:
        config = bridged(upstream.url, limits=["one"])
        config["limits"] = {"one": {"key": "ip", "concurrency": 1}}
        gateway = await start_gateway(config)
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await client.create("b")
            refused = (await client.end_of("b"))[-1]
            await client.say("cancel", id="a")
            await client.end_of("a")
            await under_way(client, "c")
            await client.say("cancel", id="c")
            await client.end_of("c")
    assert refused["status"] == 429


async def test_a_thousand_creates_get_as_many_as_the_socket_may_have(
    start_gateway: StartGateway,
) -> None:
    async def silent(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.wait_client_gone()

    async with ScriptedUpstream(silent) as upstream:
        gateway = await start_gateway(bridged(upstream.url, bridge={"generations": 5}))
        async with bridge_client(gateway.port) as client:
            for number in range(1000):
                await client.create(number)
            codes = [(await client.hear())["error"]["code"] for _ in range(995)]
            assert set(codes) == {"too_many_generations"}
            await upstream.wait_requests(5)
        for connection in upstream.connections:
            await connection.wait_client_gone()
    assert len(upstream.requests) == 5


async def test_messages_are_counted(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(
        bridged("http://127.0.0.1:9", websocket={"messages": "10/minute"})
    )
    async with bridge_client(gateway.port) as client:
        for _ in range(100):
            await client.say("ping")
        assert (await client.closed())[0] == 1008


async def test_a_generation_counts_as_a_connection(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway(bridged(upstream.url, server={"max_connections": 2}))
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await client.create("b")
            heard = await client.end_of("b")
            assert heard[-1]["error"]["code"] == "too_many_connections"
            await client.say("cancel", id="a")
            await client.end_of("a")
            await under_way(client, "c")
        await upstream.connections[-1].wait_client_gone()


async def test_a_user_agent_of_any_bytes_goes_on(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with RawClient(gateway.port) as client:
            raw = opening("/v1/stream", "User-Agent: AGENT")
            await client.send(raw.replace(b"AGENT", b"\xff \xe4\xb8\xad"))
            assert (await client.read_head()).status == 101
            await client.send(frame('{"op":"create","id":"a","body":{}}'))
            (asked,) = await upstream.wait_requests(1)
            client.reset()
    assert asked.value("user-agent") == b"\xff \xe4\xb8\xad"


async def test_behind_a_trusted_proxy_a_generation_is_of_the_same_client(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(
            bridged(upstream.url, server={"trusted_proxies": ["127.0.0.1/32"]})
        )
        forwarded = headers("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")
        async with bridge_client(gateway.port, **forwarded) as client:
            await client.create("a")
            await client.end_of("a")
        assert (await gateway.wait_for_log(carried))["client"] == "192.0.2.7"
        assert upstream.requests[0].value("x-forwarded-proto") == b"https"
