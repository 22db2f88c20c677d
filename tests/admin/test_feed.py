"""`GET /api/events`: what changes, told to all who look."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from gateway.admin.feed import Feed
from tests.support.waiting import settled

Client = TestClient[web.Request, web.Application]


class States:
    """What is asked for, and how often it was."""

    def __init__(self) -> None:
        self.now: dict[str, Any] = {"a": 1, "b": 1}
        self.asked: Counter[str] = Counter()
        self.admits = True
        self.fails = False

    def source(self, topic: str) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            self.asked[topic] += 1
            if self.fails:
                raise OSError
            return self.now[topic]

        return ask


@pytest.fixture
def states() -> States:
    return States()


@pytest.fixture
async def client(states: States, aiohttp_client: AiohttpClient) -> Client:
    feed = Feed({t: states.source(t) for t in states.now}, every_s=0.02, heartbeat_s=0.3)

    async def admitted(_: web.Request) -> bool:
        return states.admits

    async def serve(request: web.Request) -> web.StreamResponse:
        return await feed.serve(request, admitted)

    app = web.Application()
    app.router.add_get("/api/events", serve)
    app.on_shutdown.append(feed.close)
    return await aiohttp_client(app)


async def event(response: ClientResponse) -> dict[str, str]:
    """The next event, or comment."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(10):
        while line := (await response.content.readline()).decode().rstrip("\n"):
            name, _, value = line.partition(":")
            fields[name or "comment"] = value.strip()
    return fields


async def opened(client: Client, topics: str, last: str | None = None) -> ClientResponse:
    headers = {"Last-Event-ID": last} if last else {}
    response = await client.get(f"/api/events?topics={topics}", headers=headers)
    assert response.status == 200
    assert response.content_type == "text/event-stream"
    assert await event(response) == {"retry": "1000"}
    return response


async def test_a_viewer_is_told_how_it_is_and_then_what_changes(
    client: Client, states: States
) -> None:
    async with await opened(client, "a,b") as response:
        first, second = await event(response), await event(response)
        assert {(one["event"], one["data"]) for one in (first, second)} == {("a", "1"), ("b", "1")}
        states.now["b"] = {"x": 2}
        changed = await event(response)
        assert (changed["event"], changed["data"]) == ("b", '{"x":2}')


async def test_where_nothing_changes_there_are_signs_of_life(
    client: Client, states: States
) -> None:
    async with await opened(client, "a") as response:
        await event(response)
        assert "comment" in await event(response)


async def test_many_viewers_are_asked_for_once_and_nobody_for_nobody(
    client: Client, states: States
) -> None:
    viewers = [await opened(client, "a") for _ in range(10)]
    for viewer in viewers:
        await event(viewer)
    before = states.asked["a"]
    states.now["a"] = 2
    for viewer in viewers:
        assert (await event(viewer))["data"] == "2"
        viewer.close()
    assert states.asked["a"] - before < 200  # and not ten for each round
    assert states.asked["b"] == 0
    await settled(lambda: states.asked["a"])  # it ends with the last viewer


async def test_whoever_comes_back_is_told_only_what_is_new(client: Client, states: States) -> None:
    async with await opened(client, "a,b") as other, await opened(client, "a,b") as response:
        for viewer in (other, response):
            last = [await event(viewer), await event(viewer)][1]["id"]
        response.close()
        states.now["b"] = 2
        assert (await event(other))["event"] == "b"
        async with await opened(client, "a,b", last) as again:
            assert (await event(again))["data"] == "2"
            assert "comment" in await event(again)
        # Numbers of another process say nothing.
        async with await opened(client, "a,b", "0000-7") as stranger:
            assert {(await event(stranger))["event"] for _ in range(2)} == {"a", "b"}


async def test_it_ends_for_whoever_is_not_admitted_any_more(client: Client, states: States) -> None:
    async with await opened(client, "a") as response:
        await event(response)
        states.admits = False
        states.now["a"] = 2
        async with asyncio.timeout(10):
            assert b"data: 3" not in await response.content.read()


async def test_a_source_that_fails_ends_it_so_that_viewers_come_back(
    client: Client, states: States
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with await opened(client, "a") as response:
        await event(response)
        states.fails = True
        async with asyncio.timeout(10):
            await response.content.read()
    states.fails = False
    async with await opened(client, "a") as response:
        assert (await event(response))["data"] == "1"


async def test_what_nobody_knows_is_400(client: Client) -> None:
    response = await client.get("/api/events?topics=nothing")
    assert response.status == 400
