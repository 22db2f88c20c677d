"""Channels of one worker, over real sockets: publish, follow, return, and who may."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from gateway.auth.jwt import REVOKED
from gateway.channels import channels
from gateway.config import load_text
from gateway.wiring.routes import shown
from tests.channels.clients import (
    PUBLISHER,
    Reader,
    asked,
    config,
    posting,
    publish,
    until_followed,
)
from tests.support.client import RawClient, ask, request
from tests.support.gateway import RunningGateway, StartGateway, config_text
from tests.support.tokens import Auth, bearer
from tests.support.waiting import eventually


@pytest.fixture
async def gateway(start_gateway: StartGateway, auth: Auth) -> RunningGateway:
    return await start_gateway(config())


async def test_every_follower_receives_what_is_published_after_it_came(
    gateway: RunningGateway,
) -> None:
    await publish(gateway, "news", "before")
    async with Reader(gateway, "news") as one, Reader(gateway, "news") as two:
        await one.opened()
        await two.opened()
        first = await publish(gateway, "news", "hello")
        second = await publish(gateway, "news", b'{"a": 1}', query="?event=update")
        for reader in (one, two):
            event = await reader.event()
            assert event.raw == f"id: {first}\ndata: hello\n\n".encode()
            event = await reader.event()
            assert event.raw == f'id: {second}\nevent: update\ndata: {{"a": 1}}\n\n'.encode()
    assert one.head.value("content-type") == b"text/event-stream; charset=utf-8"
    assert one.head.value("cache-control") == b"no-store"


async def test_a_client_that_returns_gets_what_it_has_missed(gateway: RunningGateway) -> None:
    ids = [await publish(gateway, "news", f"n{number}") for number in range(5)]
    async with Reader(gateway, "news", bearer(), f"Last-Event-ID: {ids[1]}") as reader:
        assert await (await reader.opened()).data(3) == ["n2", "n3", "n4"]
        assert reader.position == ids[1]
    async with Reader(gateway, "news", query=f"?after={ids[3]}") as reader:
        assert await (await reader.opened()).data(1) == ["n4"]
    async with Reader(gateway, "news", query="?after=0") as reader:
        assert await (await reader.opened()).data(5) == [f"n{number}" for number in range(5)]


async def test_a_client_that_has_seen_no_event_yet_can_return_too(gateway: RunningGateway) -> None:
    async with Reader(gateway, "news") as reader:
        position = (await reader.opened()).position
    await publish(gateway, "news", "meanwhile")
    async with Reader(gateway, "news", query=f"?after={position}") as reader:
        assert await (await reader.opened()).data(1) == ["meanwhile"]


async def test_a_client_is_told_which_events_are_gone(
    start_gateway: StartGateway, auth: Auth
) -> None:
    gateway = await start_gateway(config(history=10))
    ids = [await publish(gateway, "news", f"n{number}") for number in range(12)]
    async with Reader(gateway, "news", query=f"?after={ids[0]}") as reader:
        lost = await reader.notice("gap")
        assert lost["lost_after"] == ids[0]
        await reader.opened()
        kept = [f"n{number}" for number in range(12) if ids[number] > lost["lost_until"]]
        assert 1 <= len(kept) <= 10
        assert await reader.data(len(kept)) == kept


async def test_an_id_that_the_channel_never_gave_is_told_as_a_gap(gateway: RunningGateway) -> None:
    last = await publish(gateway, "news", "n")
    async with Reader(gateway, "news", query="?after=99999999999999-0") as reader:
        lost = await reader.notice("gap")
        assert lost == {"lost_after": "99999999999999-0", "lost_until": last}
        await reader.opened()
        await publish(gateway, "news", "next")
        assert await reader.data(1) == ["next"]


@pytest.mark.parametrize("text", ["abc", "1-2-3", "-1", "1-99999999", "9" * 16])
async def test_what_is_no_event_id_is_refused(gateway: RunningGateway, text: str) -> None:
    response = await asked(gateway, f"/v1/channels/news?after={text}")
    assert (response.status, response.json()["error"]["code"]) == (400, "invalid_event_id")


@pytest.mark.parametrize("name", ["", "-a", "a%20b", "a/b", "x" * 65, "%C3%A9"])
async def test_a_name_that_no_channel_can_have_is_404(gateway: RunningGateway, name: str) -> None:
    for method in ("GET", "POST"):
        response = await asked(gateway, f"/v1/channels/{name}", PUBLISHER, method=method)
        assert (response.status, response.json()["error"]["code"]) == (404, "channel_not_found")


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


@pytest.mark.parametrize(
    ("data", "query"),
    [
        (b"", ""),
        (b"\xff", ""),
        (b"x", "?event=gateway.gap"),
        (b"x", "?event=a%0Ab"),
        (b"x", "?event=" + "x" * 129),
    ],
)
async def test_what_cannot_be_an_event_is_refused(
    gateway: RunningGateway, data: bytes, query: str
) -> None:
    response = await ask(gateway.port, posting("news", data, query=query), "POST")
    assert (response.status, response.json()["error"]["code"]) == (400, "invalid_event")


async def test_an_event_that_is_too_large_is_413(start_gateway: StartGateway, auth: Auth) -> None:
    gateway = await start_gateway(config(max_event="1KiB"))
    response = await ask(gateway.port, posting("news", b"x" * 1025), "POST")
    assert (response.status, response.json()["error"]["code"]) == (413, "request_too_large")


async def test_lines_of_an_event_arrive_as_they_were(gateway: RunningGateway) -> None:
    async with Reader(gateway, "news") as reader:
        await reader.opened()
        await publish(gateway, "news", "a\nb\r\n: c\n")
        assert await reader.data(1) == ["a\nb\n: c\n"]


async def test_a_stream_is_published_event_by_event_as_it_comes(gateway: RunningGateway) -> None:
    lines = (PUBLISHER, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
    async with Reader(gateway, "news") as reader, RawClient(gateway.port) as client:
        await reader.opened()
        await client.send(request("POST", "/v1/channels/news", headers=lines))
        for part in (b": hi\n\nid: 7\nretry: 1\ndata: one\n\nevent: t\nda", b"ta: two\n\n"):
            await client.send(b"%x\r\n%b\r\n" % (len(part), part))
        first, second = await reader.event(), await reader.event()
        assert (first.data, first.type, first.retry_ms) == (b"one", b"message", None)
        assert (second.data, second.type) == (b"two", b"t")
        await client.send(b"0\r\n\r\n")
        outcome = (await client.read_response("POST")).json()
        assert first.id is not None
        assert second.id is not None
        assert outcome == {
            "events": 2,
            "first_id": first.id.decode(),
            "last_id": second.id.decode(),
        }


async def test_a_stream_that_breaks_a_rule_says_what_was_published(
    start_gateway: StartGateway, auth: Auth
) -> None:
    gateway = await start_gateway(config(max_event="1KiB"))
    body = b"data: ok\n\ndata: " + b"x" * 2000 + b"\n\n"
    raw = posting("news", body, kind="text/event-stream")
    response = await ask(gateway.port, raw, "POST")
    assert response.status == 413
    assert response.value("x-events-published") == b"1"


async def test_a_repeated_request_publishes_once(gateway: RunningGateway) -> None:
    key = "Idempotency-Key: one"
    first = await publish(gateway, "news", "a", PUBLISHER, key)
    assert await publish(gateway, "news", "a", PUBLISHER, key) == first
    conflict = await ask(gateway.port, posting("news", b"b", PUBLISHER, key), "POST")
    assert (conflict.status, conflict.json()["error"]["code"]) == (422, "idempotency_key_reused")
    other = await publish(gateway, "news", "b", bearer(sub="bob", scope="news:write"), key)
    assert other != first
    async with Reader(gateway, "news", query="?after=0") as reader:
        assert await (await reader.opened()).data(2) == ["a", "b"]


@pytest.mark.parametrize(
    ("key", "kind"), [("", "text/plain"), ("x" * 256, "text/plain"), ("a", "text/event-stream")]
)
async def test_an_idempotency_key_that_cannot_be_one_is_refused(
    gateway: RunningGateway, key: str, kind: str
) -> None:
    raw = posting("news", b"data: a\n\n", PUBLISHER, f"Idempotency-Key: {key}", kind=kind)
    response = await ask(gateway.port, raw, "POST")
    assert response.status == 400
    assert response.json()["error"]["code"] == "invalid_idempotency_key"


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


async def test_presence_is_counted_and_told(start_gateway: StartGateway, auth: Auth) -> None:
    gateway = await start_gateway(config(presence=True))
    async with Reader(gateway, "news") as one:
        assert (await one.notice("open"))["followers"] == 1
        assert await one.notice("presence") == {"followers": 1}
        async with Reader(gateway, "news") as two:
            await two.opened()
            assert await one.notice("presence") == {"followers": 2}
            await until_followed(gateway, "news", 2)
        assert await one.notice("presence") == {"followers": 1}


async def test_a_drain_tells_followers_when_to_come_back(gateway: RunningGateway) -> None:
    async with Reader(gateway, "news") as reader:
        await reader.opened()
        stopping = asyncio.create_task(gateway.server.stop(30.0))
        event = await reader.event()
        assert event.type == b"gateway.end"
        assert 1000 <= (event.retry_ms or 0) <= 5000
        assert json.loads(event.data or b"")["error"]["code"] == "gateway_draining"
        await reader.client.wait_closed()
        await stopping


async def test_a_follower_ends_when_its_credential_expires(gateway: RunningGateway) -> None:
    skew_s = 60  # that a token may have
    async with Reader(gateway, "news", bearer(exp=int(time.time()) - skew_s + 2)) as reader:
        await reader.opened()
        said = await reader.notice("end")
        assert said["error"]["code"] == "credential_expired"


async def test_a_follower_ends_when_its_credential_is_revoked(
    start_gateway: StartGateway, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "VALIDITY_TICKS", 1)
    gateway = await start_gateway(config())
    async with (
        Reader(gateway, "news", bearer(jti="one")) as one,
        Reader(gateway, "news", bearer(jti="two")) as two,
    ):
        await one.opened()
        await two.opened()
        await gateway.server.runtime.stores.records.put(REVOKED, "one", b"", 60.0)
        assert (await one.notice("end"))["error"]["code"] == "credential_expired"
        await publish(gateway, "news", "x")
        assert await two.data(1) == ["x"]


async def test_a_large_history_is_written_in_pieces_with_other_followers_between(
    start_gateway: StartGateway, auth: Auth
) -> None:
    gateway = await start_gateway(config(events=None))
    for number in range(20):
        await publish(gateway, "news", f"{number:02}" + "x" * 40_000)
    async with Reader(gateway, "news", query="?after=0") as reader:
        await reader.opened()
        assert [text[:2] for text in await reader.data(20)] == [f"{n:02}" for n in range(20)]


async def test_a_reload_keeps_followers_and_history(
    gateway: RunningGateway,
) -> None:
    async with Reader(gateway, "news") as reader:
        await reader.opened()
        first = await publish(gateway, "news", "before")
        await gateway.server.prepare(gateway.config)
        gateway.server.commit()
        await publish(gateway, "news", "after")
        assert await reader.data(2) == ["before", "after"]
    async with Reader(gateway, "news", query=f"?after={first}") as reader:
        assert await (await reader.opened()).data(1) == ["after"]


async def test_a_reload_to_another_store_sends_followers_to_it(gateway: RunningGateway) -> None:
    other = load_text(config_text({**config(), "store": {"channel_bytes": "1MiB"}}, {}))
    async with Reader(gateway, "news") as reader:
        await reader.opened()
        await gateway.server.prepare(other)
        gateway.server.commit()
        assert (await reader.notice("end"))["error"]["code"] == "gateway_draining"
    async with Reader(gateway, "news") as reader:
        await reader.opened()
        await publish(gateway, "news", "x")
        assert await reader.data(1) == ["x"]


async def test_routes_lists_channels(gateway: RunningGateway) -> None:
    rows = shown(gateway.config, gateway.server.runtime.routes)
    assert [(row["methods"], row["to"]) for row in rows] == [
        ("GET", "channels"),
        ("POST", "channels"),
        ("any", "main"),
    ]


async def test_a_slow_follower_is_disconnected_and_may_return(
    start_gateway: StartGateway, auth: Auth
) -> None:
    gateway = await start_gateway(config(history=8, events=None))
    async with Reader(gateway, "news", buffer=4096) as slow, Reader(gateway, "news") as fast:
        await slow.opened()
        await fast.opened()
        slow.client.pause_reading()
        counts = gateway.server.runtime.channels.counts_of("main")
        number = 0
        while not counts.disconnects:
            await publish(gateway, "news", f"{number:06}" + "x" * 60_000)
            assert (await fast.data(1))[0].startswith(f"{number:06}")
            number += 1
            assert number < 500
        slow.client.resume_reading()
        last = ""
        while (event := await slow.event()).type == b"message":
            last = (event.id or b"").decode()
        assert json.loads(event.data or b"")["error"]["code"] == "follower_behind"
    async with Reader(gateway, "news", query=f"?after={last}") as again:
        assert (await again.notice("gap"))["lost_after"] == last


async def test_a_slow_follower_can_lose_events_instead_and_is_told(
    start_gateway: StartGateway, auth: Auth
) -> None:
    gateway = await start_gateway(config(history=8, events=None, slow="drop"))
    async with Reader(gateway, "news", buffer=4096) as slow:
        await slow.opened()
        slow.client.pause_reading()
        open_now = gateway.server.listener.connections
        (following,) = [each for each in open_now if each.writer is not None]
        while not following.writing_paused:
            await publish(gateway, "news", "x" * 60_000)
        for _ in range(20):
            await publish(gateway, "news", "x" * 60_000)
        slow.client.resume_reading()
        while (event := await slow.event()).type == b"message":
            pass
        assert event.type == b"gateway.gap"
        await slow.data(8 - 1)
    assert gateway.server.runtime.channels.counts_of("main").gaps == 1


async def test_a_heartbeat_and_the_reconnection_time_are_sent(
    start_gateway: StartGateway, auth: Auth
) -> None:
    document = config()
    document["routes"][0] |= {"heartbeat": "200ms", "retry": "3s"}
    gateway = await start_gateway(document)
    async with Reader(gateway, "news") as reader:
        assert (await reader.event()).raw.startswith(b"retry: 3000\nid: ")
        assert await reader.client.read_chunk() == b": heartbeat\n"


async def test_pages_of_other_origins_may_follow_and_publish(
    start_gateway: StartGateway, auth: Auth
) -> None:
    document = config()
    document["routes"][0]["cors"] = {"origins": ["https://app.test"]}
    gateway = await start_gateway(document)
    origin = "Origin: https://app.test"
    async with Reader(gateway, "news", bearer(), origin) as reader:
        assert reader.head.value("access-control-allow-origin") == b"https://app.test"
    preflight = (origin, "Access-Control-Request-Method: POST")
    response = await asked(gateway, "/v1/channels/news", *preflight, method="OPTIONS")
    assert b"POST" in (response.value("access-control-allow-methods") or b"")


async def test_a_follower_has_one_line_in_the_access_log(gateway: RunningGateway) -> None:
    async with Reader(gateway, "news") as reader:
        await reader.opened()
        await publish(gateway, "news", "x")
        await reader.data(1)
    line = await gateway.wait_for_log(
        lambda line: line.get("method") == "GET" and line["event"] == "request"
    )
    assert (line["path"], line["route"], line["status"]) == ("/v1/channels/news", "main", 200)
    assert line["end"] == "client_abort"
    assert line["bytes_out"] > 20
