"""Followers that lag, whose credential ends, or whom a reload or a drain concerns."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from gateway.admin.worker_metrics import WorkerMetrics
from gateway.auth.jwt import REVOKED
from gateway.channels import channels
from gateway.config import load_text
from gateway.wiring.routes import shown
from tests.channels.clients import (
    Reader,
    asked,
    config,
    publish,
    until_followed,
)
from tests.support.gateway import RunningGateway, StartGateway, config_text
from tests.support.tokens import Auth, bearer


async def test_presence_is_counted_and_told(
    start_gateway: StartGateway, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "TICK_S", 0.1)
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
    monkeypatch.setattr(channels, "TICK_S", 0.1)
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


async def test_metrics_tell_channels_followers_and_events(gateway: RunningGateway) -> None:
    async with Reader(gateway, "news") as reader:
        await reader.opened()
        await publish(gateway, "news", "x")
        await reader.data(1)
        found = await WorkerMetrics(gateway.server, 0).snapshot()
        for name in ("gateway_channels", "gateway_channel_followers", "gateway_channel_events"):
            assert found[name] == [[("main",), 1]], name
        assert found["gateway_channel_gaps"] == [[("main",), 0]]
        [[_, size_bytes]] = found["gateway_channel_history_bytes"]
        assert size_bytes > len("data: x")
