"""Followers by WebSocket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.channels.clients import asked, config, publish, until_followed
from tests.support.client import RawClient
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.tokens import Auth, bearer
from tests.support.websocket import CLOSE, TEXT, close, frame, hear, opened, opening, read_frame

PATH = "/v1/channels/news"


async def message(client: RawClient) -> Any:
    heard = await read_frame(client)
    assert heard.opcode == TEXT, heard
    return json.loads(heard.payload)


async def test_each_event_is_one_message(gateway: RunningGateway) -> None:
    async with RawClient(gateway.port) as client:
        await opened(client, PATH, bearer())
        first = await message(client)
        assert first["event"] == "gateway.open"
        assert json.loads(first["data"]) == {"position": first["id"]}
        event_id = await publish(gateway, "news", "a\nb")
        assert await message(client) == {"id": event_id, "event": "message", "data": "a\nb"}
        await publish(gateway, "news", "{}", query="?event=update")
        assert (await message(client))["event"] == "update"
        await until_followed(gateway, "news", 1)
        await client.send(close())
        assert (await read_frame(client)).code == 1000
    await until_followed(gateway, "news", 0)
    line = await gateway.wait_for_log(lambda line: line.get("status") == 101)
    assert (line["messages_out"], line["close_code"]) == (3, 1000)


async def test_a_client_that_returns_names_its_last_event_in_the_query(
    gateway: RunningGateway,
) -> None:
    seen = await publish(gateway, "news", "seen")
    await publish(gateway, "news", "missed")
    async with RawClient(gateway.port) as client:
        await opened(client, f"{PATH}?after={seen}", bearer())
        assert (await message(client))["id"] == seen
        assert (await message(client))["data"] == "missed"


async def test_what_a_follower_says_is_ignored(gateway: RunningGateway) -> None:
    async with RawClient(gateway.port) as client:
        await opened(client, PATH, bearer())
        await message(client)
        await client.send(frame("hello") + frame(b"\0", 2))
        await publish(gateway, "news", "x")
        assert (await message(client))["data"] == "x"


async def test_a_drain_is_told_and_closes_with_1012(gateway: RunningGateway) -> None:
    async with RawClient(gateway.port) as client:
        await opened(client, PATH, bearer())
        await message(client)
        stopping = asyncio.create_task(gateway.server.stop(30.0))
        heard = await hear(client)
        said = json.loads(heard.messages[-1][1])
        assert said["event"] == "gateway.end"
        assert 1000 <= said["retry"] <= 5000
        assert heard.code in (1001, 1012)
        client.close()
        await stopping


async def test_handshakes_follow_the_rules_of_the_path(gateway: RunningGateway) -> None:
    async with RawClient(gateway.port) as client:
        await client.send(opening(PATH))
        assert (await client.read_response()).status == 401
    async with RawClient(gateway.port) as client:
        await client.send(opening("/v1/channels/-", bearer()))
        assert (await client.read_response()).status == 404
    async with RawClient(gateway.port) as client:
        await client.send(opening(PATH, bearer(), "Origin: https://evil.test"))
        assert (await client.read_response()).status == 403
    assert (await asked(gateway, f"{PATH}/presence")).json() == {"followers": 0}


async def test_a_slow_follower_is_told_and_closed(start_gateway: StartGateway, auth: Auth) -> None:
    gateway = await start_gateway(config(history=8, events=None))
    counts = gateway.server.runtime.channels.counts_of("main")
    async with RawClient(gateway.port, receive_buffer_bytes=4096) as client:
        await opened(client, PATH, bearer())
        client.pause_reading()
        while not counts.disconnects:
            await publish(gateway, "news", "x" * 60_000)
        client.resume_reading()
        while (heard := await read_frame(client)).opcode != CLOSE:
            last = heard
        assert json.loads(json.loads(last.payload)["data"])["error"]["code"] == "follower_behind"
