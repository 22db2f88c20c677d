"""Publishers and followers of channels, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol, Self

from gateway.sse import Event, EventSplitter
from tests.support.block import AsyncBlock
from tests.support.client import Head, RawClient, Response, ask, request
from tests.support.gateway import simple_config
from tests.support.tokens import CORP, bearer
from tests.support.waiting import asked_until

NOWHERE = "http://127.0.0.1:9"
"""Upstream that nothing is sent to."""
PUBLISHER = bearer(scope="news:write")


class Door(Protocol):
    """A gateway, whichever way it runs."""

    @property
    def port(self) -> int:
        """Where it listens."""


def config(upstream: str = NOWHERE, **channels: Any) -> dict[str, Any]:
    """Return a configuration with one route `/v1/` that serves channels. Its callers have tokens;
    those with the scope `news:write` may publish. Keywords are keys of `channels`.
    """
    document = simple_config(upstream)
    document["auth"] = CORP
    document["routes"][0] |= {"auth": ["corp"], "channels": {"publish": ["news:write"], **channels}}
    return document


def posting(
    channel: str, data: bytes, *headers: str, query: str = "", kind: str = "text/plain"
) -> bytes:
    """Return a request that publishes one event."""
    lines = (f"Content-Type: {kind}", *(headers or (PUBLISHER,)))
    return request("POST", f"/v1/channels/{channel}{query}", headers=lines, body=data)


async def publish(
    gateway: Door, channel: str, data: bytes | str, *headers: str, query: str = ""
) -> str:
    """Publish one event. Return its id."""
    raw = data.encode() if isinstance(data, str) else data
    response = await ask(gateway.port, posting(channel, raw, *headers, query=query), "POST")
    assert response.status == 201, response.body
    return str(response.json()["id"])


async def asked(gateway: Door, target: str, *headers: str, method: str = "GET") -> Response:
    """Return the response to a request without a body."""
    lines = headers or (bearer(),)
    return await ask(gateway.port, request(method, target, headers=lines), method)


class Reader(AsyncBlock):
    """Client that follows a channel, as a context manager."""

    def __init__(
        self, gateway: Door, channel: str, *headers: str, query: str = "", buffer: int | None = None
    ) -> None:
        self.client = RawClient(gateway.port, receive_buffer_bytes=buffer)
        self.head: Head
        self._raw = request(target=f"/v1/channels/{channel}{query}", headers=headers or (bearer(),))
        self._splitter = EventSplitter()
        self._events: list[Event] = []
        self.position = ""
        """Id of the first event, which tells the position."""

    async def _enter(self) -> None:
        await self.client.__aenter__()
        try:
            await self.client.send(self._raw)
            self.head = await self.client.read_head()
            assert self.head.status == 200, self.head.raw + self.client.unread
        except BaseException as exc:
            await self._leave(exc)
            raise

    async def _leave(self, error: BaseException | None) -> None:
        await self.client.__aexit__(None, error, None)

    async def event(self) -> Event:
        """Return the next event."""
        while not self._events:
            data = await self.client.read_chunk()
            assert data is not None, "the stream has ended"
            self._events += self._splitter.feed(data)
        return self._events.pop(0)

    async def opened(self) -> Self:
        """Read the event that tells the position."""
        event = await self.event()
        assert event.type == b"gateway.open", event.raw
        assert event.id is not None
        self.position = event.id.decode()
        return self

    async def data(self, count: int) -> list[str]:
        """Return the data of the next events, which must be published ones."""
        events = [await self.event() for _ in range(count)]
        assert all(not event.type.startswith(b"gateway.") for event in events), events
        return [(event.data or b"").decode() for event in events]

    async def notice(self, kind: str) -> Mapping[str, Any]:
        """Return the content of the next event, which must be the gateway's own."""
        event = await self.event()
        assert event.type == b"gateway." + kind.encode(), event.raw
        found: Mapping[str, Any] = json.loads(event.data or b"")
        return found


async def joined_while_published(gateway: Door, channel: str, count: int = 150) -> None:
    """Publish a stream of events, one after the other, while followers come that ask for all.
    Check that each of them gets each event once, in order.
    """
    marks = [f"{channel} {number}" for number in range(count)]
    lines = (PUBLISHER, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")

    async def publish_all() -> None:
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", f"/v1/channels/{channel}", headers=lines))
            for mark in marks:
                event = f"data: {mark}\n\n".encode()
                await client.send(b"%x\r\n%b\r\n" % (len(event), event))
                await asyncio.sleep(0)
            await client.send(b"0\r\n\r\n")
            assert (await client.read_response("POST")).json()["events"] == count

    async def follow() -> None:
        async with Reader(gateway, channel, query="?after=0") as reader:
            met = await (await reader.opened()).data(1)
            while met[-1] != marks[-1]:
                met += await reader.data(1)
            assert met[-count:] == marks

    await publish(gateway, channel, "first")
    publishing = asyncio.create_task(publish_all())
    for _ in range(5):
        await asyncio.gather(*(follow() for _ in range(4)))
    await publishing


async def until_published(gateway: Door, channel: str, data: bytes) -> None:
    """Publish one event, as soon as it is not refused."""
    await asked_until(
        lambda: ask(gateway.port, posting(channel, data), "POST"),
        lambda answer: answer.status == 201,
        pause_s=0.05,
    )


async def until_followed(gateway: Door, channel: str, count: int, *headers: str) -> None:
    """Wait until a channel has this number of followers in all processes."""
    await asked_until(
        lambda: asked(gateway, f"/v1/channels/{channel}/presence", *headers),
        lambda said: said.json()["followers"] == count,
    )
