"""Who may publish and follow, and how much."""

from __future__ import annotations

from gateway.auth.jwt import REVOKED
from tests.channels.clients import (
    Reader,
    asked,
    config,
    posting,
    publish,
)
from tests.support.client import RawClient, ask, request
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.tokens import Auth, bearer
from tests.support.waiting import eventually


async def test_publishing_needs_its_scope_and_following_a_credential(
    gateway: RunningGateway,
) -> None:
    refused = await ask(gateway.port, posting("news", b"x", bearer()), "POST")
    assert (refused.status, refused.json()["error"]["code"]) == (403, "insufficient_scope")
    unknown = await ask(gateway.port, posting("news", b"x", "X-No: credential"), "POST")
    assert unknown.status == 401
    assert (await asked(gateway, "/v1/channels/news", "X-No: credential")).status == 401
    assert (await asked(gateway, "/v1/channels/news", method="DELETE")).status == 405


async def test_following_can_need_a_scope(start_gateway: StartGateway, auth: Auth) -> None:
    gateway = await start_gateway(config(follow=["news:read"]))
    assert (await asked(gateway, "/v1/channels/news")).status == 403
    async with Reader(gateway, "news", bearer(scope="news:read")) as reader:
        await reader.opened()


async def test_nobody_publishes_where_no_scope_is_named(
    start_gateway: StartGateway, auth: Auth
) -> None:
    gateway = await start_gateway(config(publish=[]))
    refused = await ask(gateway.port, posting("news", b"x"), "POST")
    assert refused.status == 405
    assert refused.value("allow") == b"GET"


async def test_a_tenant_may_be_named_by_half_a_character(gateway: RunningGateway) -> None:
    await publish(gateway, "news", "x", bearer(org="\ud83d", scope="news:write"))


async def test_channels_of_tenants_are_apart(start_gateway: StartGateway, auth: Auth) -> None:
    red, blue = (bearer(org=org, scope="news:write") for org in ("red", "blue"))
    gateway = await start_gateway(config())
    async with Reader(gateway, "news", red) as reader:
        await reader.opened()
        await publish(gateway, "news", "of blue", blue)
        await publish(gateway, "news", "of red", red)
        assert await reader.data(1) == ["of red"]
    shared = await start_gateway(config(per_tenant=False))
    async with Reader(shared, "news", red) as reader:
        await reader.opened()
        await publish(shared, "news", "of blue", blue)
        assert await reader.data(1) == ["of blue"]


async def test_a_public_channel_is_followed_without_a_credential(
    start_gateway: StartGateway, auth: Auth
) -> None:
    gateway = await start_gateway(config(public=True, per_tenant=False))
    async with Reader(gateway, "news", "X-No: credential") as reader:
        await reader.opened()
        await publish(gateway, "news", "to all")
        assert await reader.data(1) == ["to all"]
    assert (await ask(gateway.port, posting("news", b"x", "X-No: a"), "POST")).status == 401


async def test_events_of_one_caller_are_limited(start_gateway: StartGateway, auth: Auth) -> None:
    gateway = await start_gateway(config(events="2/hour"))
    await publish(gateway, "news", "1")
    await publish(gateway, "news", "2")
    response = await ask(gateway.port, posting("news", b"3"), "POST")
    assert (response.status, response.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(response.value("retry-after") or 0) > 1
    await publish(gateway, "news", "1", bearer(sub="bob", scope="news:write"))


async def test_limits_of_the_configuration_hold_for_publishers_and_followers(
    start_gateway: StartGateway, auth: Auth
) -> None:
    document = config(publish_limits=["posts"], follow_limits=["open"])
    document["limits"] = {
        "posts": {"key": "subject", "requests": "1/hour"},
        "open": {"key": "subject", "concurrency": 1},
    }
    gateway = await start_gateway(document)
    await publish(gateway, "news", "1")
    assert (await ask(gateway.port, posting("news", b"2"), "POST")).status == 429
    async with Reader(gateway, "news") as reader:
        await reader.opened()
        assert (await asked(gateway, "/v1/channels/other")).status == 429
    await eventually(lambda: not gateway.server.runtime.leases)
    async with Reader(gateway, "news") as reader:
        await reader.opened()


async def test_caps_on_followers_and_channels_are_429(
    start_gateway: StartGateway, auth: Auth
) -> None:
    gateway = await start_gateway(config(max_followers=2, max_per_caller=1, max_channels=1))
    other, third = bearer(sub="bob"), bearer(sub="eve")
    async with Reader(gateway, "news") as reader, Reader(gateway, "news", other):
        await reader.opened()
        for headers in ([bearer()], [third]):
            full = await asked(gateway, "/v1/channels/news", *headers)
            assert (full.status, full.json()["error"]["code"]) == (429, "too_many_followers")
            assert full.value("retry-after") == b"10"
        full = await asked(gateway, "/v1/channels/another", third)
        assert (full.status, full.json()["error"]["code"]) == (429, "too_many_channels")
        await publish(gateway, "published", "followers take no publisher's place")
        full = await ask(gateway.port, posting("another", b"x"), "POST")
        assert (full.status, full.json()["error"]["code"]) == (429, "too_many_channels")


async def test_a_published_stream_ends_when_its_credential_is_revoked(
    gateway: RunningGateway,
) -> None:
    publisher = bearer(scope="news:write", jti="one")
    lines = (publisher, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
    async with Reader(gateway, "news") as reader, RawClient(gateway.port) as client:
        await reader.opened()
        await client.send(request("POST", "/v1/channels/news", headers=lines))
        await client.send(b"9\r\ndata: a\n\n\r\n")
        assert await reader.data(1) == ["a"]
        runtime = gateway.server.runtime
        await runtime.stores.records.put(REVOKED, "one", b"", 60.0)
        await eventually(lambda: "one" in runtime.revoked.found)
        await client.send(b"9\r\ndata: b\n\n\r\n")
        response = await client.read_response("POST")
        assert (response.status, response.json()["error"]["code"]) == (401, "credential_expired")
        assert response.value("x-events-published") == b"1"
