"""Tickets over the wire: for those who can set no header, once, and seen by nobody behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.client import RawClient, Response, ask, request
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.redis import StartRedis
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply


def config(upstream: ScriptedUpstream, auth: Auth, **sections: Any) -> dict[str, Any]:
    return {
        "auth": {**auth, "door": {"type": "ticket"}},
        "upstreams": {"main": {"endpoints": [{"url": upstream.url}]}},
        "routes": [
            {
                "name": "tickets",
                "path": "/auth/ticket",
                "methods": ["POST"],
                "auth": list(auth),
                "issues": "door",
            },
            {"name": "events", "path": "/v1/", "auth": [*auth, "door"], "upstream": "main"},
            {"name": "closed", "path": "/v2/", "auth": list(auth), "upstream": "main"},
        ],
        **sections,
    }


async def send(gateway: RunningGateway, method: str, target: str, *lines: str) -> Response:
    head = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *lines]
    return await ask(gateway.port, "\r\n".join([*head, "", ""]).encode())


async def ticket(gateway: RunningGateway, **claims: Any) -> str:
    response = await send(gateway, "POST", "/auth/ticket", bearer(**claims))
    assert response.status == 201, response.body
    assert response.value("cache-control") == b"no-store"
    assert response.json()["expires_in"] == 30
    return str(response.json()["ticket"])


async def test_a_ticket_in_the_query_enters_once(start_gateway: StartGateway, auth: Auth) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        one = await ticket(gateway, sub="ann")
        assert (await send(gateway, "GET", f"/v1/x?ticket={one}")).status == 200
        logged = await gateway.wait_for_log(lambda line: line.get("route") == "events")
        again = await send(gateway, "GET", f"/v1/x?ticket={one}")
    assert logged["subject"] == "ann"
    assert again.status == 401
    assert again.value("www-authenticate") == (
        b'Bearer error="invalid_token", error_description="The ticket is unknown, expired or used"'
    )
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("query", "forwarded"),
    [
        ("ticket={}", "/v1/x"),
        ("a=1&ticket={}", "/v1/x?a=1"),
        ("ticket={}&a=1", "/v1/x?a=1"),
        ("a=1&ticket={}&b=%20ticket&ticketing=2", "/v1/x?a=1&b=%20ticket&ticketing=2"),
    ],
)
async def test_a_ticket_is_seen_by_no_upstream_and_in_no_log(
    start_gateway: StartGateway, auth: Auth, query: str, forwarded: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        one = await ticket(gateway)
        assert (await send(gateway, "GET", "/v1/x?" + query.format(one))).status == 200
        await gateway.wait_for_log(lambda line: line.get("route") == "events")
    assert upstream.requests[0].target == forwarded
    assert one[3:].encode() not in upstream.requests[0].raw
    assert one[3:].encode() not in gateway.log.raw


async def test_a_refused_ticket_is_in_no_log_and_no_answer(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        canary = "tk-" + "canary7f3a" * 4 + "abc"
        response = await send(gateway, "GET", f"/v1/x?ticket={canary}")
        line = await gateway.wait_for_log(lambda line: line.get("status") == 401)
    assert response.status == 401
    assert line["reason"] == "door: unknown, expired or used"
    assert b"canary7f3a" not in response.body + gateway.log.raw
    assert not upstream.requests


async def test_a_route_that_takes_no_tickets_refuses_one(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        one = await ticket(gateway)
        assert (await send(gateway, "GET", f"/v2/x?ticket={one}")).status == 401
        # In a header a ticket is no credential, and it is not used up by trying.
        refused = await send(gateway, "GET", "/v1/x", f"Authorization: Bearer {one}")
        assert refused.status == 401
        assert (await send(gateway, "GET", f"/v1/x?ticket={one}")).status == 200


@pytest.mark.parametrize("query", ["ticket={0}&ticket={0}", "ticket={0}"])
async def test_a_ticket_beside_another_credential_is_refused(
    start_gateway: StartGateway, auth: Auth, query: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        one = await ticket(gateway)
        lines = [] if query.count("ticket") > 1 else [bearer()]
        response = await send(gateway, "GET", "/v1/x?" + query.format(one), *lines)
    assert response.status == 401
    assert (response.value("www-authenticate") or b"").startswith(b'Bearer error="invalid_request"')


async def test_nobody_unknown_gets_a_ticket(start_gateway: StartGateway, auth: Auth) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        assert (await send(gateway, "POST", "/auth/ticket")).status == 401
        one = await ticket(gateway)
        # Not even with a ticket, which would never end.
        assert (await send(gateway, "POST", f"/auth/ticket?ticket={one}")).status == 401
        token = bearer()
        assert (await send(gateway, "GET", "/auth/ticket", token)).status == 405


async def test_limits_of_the_route_hold_for_tickets(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = config(
            upstream, auth, limits={"few": {"key": "subject", "requests": "2/day", "burst": 2}}
        )
        document["routes"][0]["limits"] = ["few"]
        gateway = await start_gateway(document)
        token = bearer()
        said = [(await send(gateway, "POST", "/auth/ticket", token)).status for _ in range(3)]
    assert said == [201, 201, 429]


async def test_one_replica_takes_what_another_gave_and_only_one_does(
    start_gateway: StartGateway, start_redis: StartRedis, auth: Auth
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = config(upstream, auth, store={"url": redis.url})
        gateways = [await start_gateway(document) for _ in range(2)]
        for _ in range(10):
            one = await ticket(gateways[0])
            said = await asyncio.gather(
                *(send(gateway, "GET", f"/v1/x?ticket={one}") for gateway in gateways * 3)
            )
            assert sorted(response.status for response in said) == [200, *[401] * 5]


async def test_without_the_store_a_ticket_is_503_and_tokens_still_enter(
    start_gateway: StartGateway, start_redis: StartRedis, auth: Auth
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth, store={"url": redis.url}))
        one = await ticket(gateway)
        await redis.stop()
        refused = await send(gateway, "GET", f"/v1/x?ticket={one}")
        token = bearer()
        assert (await send(gateway, "POST", "/auth/ticket", token)).status == 503
        assert (await send(gateway, "GET", "/v1/x", token)).status == 200
    assert refused.status == 503
    assert refused.json()["error"]["code"] == "auth_unavailable"


async def test_a_ticket_opens_no_route_that_its_owners_own_credential_does_not(
    start_gateway: StartGateway, auth: Auth
) -> None:
    guest = {"guest": {**auth["corp"], "audience": "guests"}}
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = config(upstream, auth)
        document["auth"] |= guest
        document["routes"][0]["auth"] = ["corp", "guest"]
        document["routes"] += [
            {"name": "both", "path": "/v3/", "auth": ["guest", "door"], "upstream": "main"},
            {"name": "only", "path": "/v4/", "auth": ["door"], "upstream": "main"},
        ]
        gateway = await start_gateway(document)
        said = {}
        for path in ("/v1/x", "/v3/x", "/v4/x"):
            one = await ticket(gateway, aud="guests")
            said[path] = await send(gateway, "GET", f"{path}?ticket={one}")
    assert {path: one.status for path, one in said.items()} == {
        "/v1/x": 401,  # of corp and the door
        "/v3/x": 200,  # of guest and the door
        "/v4/x": 200,  # of the door alone
    }
    assert said["/v1/x"].json()["error"]["message"] == (
        "The ticket is of a provider that is not accepted here."
    )


@pytest.mark.parametrize(("scope", "status"), [("x", 404), ("x vip", 200)])
async def test_scopes_of_a_model_hold_for_tickets(
    start_gateway: StartGateway, auth: Auth, scope: str, status: int
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = config(upstream, auth, models={"big": {"upstream": "main", "scopes": ["vip"]}})
        document["routes"][1]["models"] = ["big"]
        gateway = await start_gateway(document)
        one = await ticket(gateway, scope=scope)
        lines = ["Content-Type: application/json"]
        raw = request("POST", f"/v1/x?ticket={one}", headers=lines, body=b'{"model": "big"}')
        async with RawClient(gateway.port) as client:
            await client.send(raw)
            assert (await client.read_response("POST")).status == status
