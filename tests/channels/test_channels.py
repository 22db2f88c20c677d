"""Channels of one worker, over real sockets: publish, follow, and return."""

from __future__ import annotations

import pytest

from tests.channels.clients import (
    PUBLISHER,
    Reader,
    asked,
    config,
    posting,
    publish,
)
from tests.support.client import RawClient, ask, request
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.tokens import Auth, bearer


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


async def test_events_before_an_invalid_one_are_published(gateway: RunningGateway) -> None:
    body = b"data: a\n\ndata: b\n\nevent: gateway.x\ndata: c\n\ndata: d\n\n"
    response = await ask(gateway.port, posting("news", body, kind="text/event-stream"), "POST")
    assert (response.status, response.json()["error"]["code"]) == (400, "invalid_event")
    assert response.value("x-events-published") == b"2"
    async with Reader(gateway, "news", query="?after=0") as reader:
        assert await (await reader.opened()).data(2) == ["a", "b"]


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
