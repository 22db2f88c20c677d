"""Client for bridges, based on the `websockets` library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.support.exchange import EVENTS
from tests.support.gateway import LogLine, simple_config
from tests.support.upstream import STREAM_HEAD, UpstreamConnection, chunk
from tests.support.waiting import PATIENCE_S

Message = dict[str, Any]
ENDS = ("done", "error", "cancelled", "response")
"""Message types that end a generation."""


def bridged(
    upstream_url: str,
    *,
    bridge: dict[str, Any] | None = None,
    websocket: dict[str, Any] | None = None,
    auth: Any = "anonymous",
    **route: Any,
) -> dict[str, Any]:
    """Return `simple_config` with a bridge in front of its route."""
    config = simple_config(upstream_url, auth=auth, **route)
    config["routes"].append(
        {
            "name": "bridge",
            "path": "/v1/stream",
            "auth": auth,
            "bridge": {"to": "main", **(bridge or {})},
            "websocket": websocket or True,
        }
    )
    return config


class BridgeClient:
    """Client on one WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.seen: list[Message] = []
        """Messages received, in order."""

    async def say(self, op: str, **fields: Any) -> None:
        """Send a message."""
        await self.connection.send(json.dumps({"op": op, **fields}))

    async def create(self, tag: str | int, **fields: Any) -> None:
        """Start a generation."""
        await self.say("create", **{"id": tag, "body": {"model": "m"}, **fields})

    async def hear(self) -> Message:
        """Return the next message."""
        async with asyncio.timeout(PATIENCE_S):
            said: Message = json.loads(await self.connection.recv())
        self.seen.append(said)
        return said

    async def hear_until(self, *types: str, tag: str | int | None = None) -> list[Message]:
        """Return all messages up to the first of these types. With `tag`, only those of that
        generation.
        """
        heard = []
        while True:
            said = await self.hear()
            if tag is None or said.get("id") == tag:
                heard.append(said)
                if said["type"] in types:
                    return heard

    async def end_of(self, tag: str | int) -> list[Message]:
        """Return all messages of a generation up to its end."""
        return await self.hear_until(*ENDS, tag=tag)

    async def closed(self) -> tuple[int, str]:
        """Wait for the close. Return its code and reason."""
        async with asyncio.timeout(PATIENCE_S):
            await self.connection.wait_closed()
        return self.connection.close_code or 0, self.connection.close_reason or ""


@asynccontextmanager
async def bridge_client(
    port: int, path: str = "/v1/stream", *, door: str = "", **options: Any
) -> AsyncIterator[BridgeClient]:
    """Yield a client with an open socket. `door` is the origin of a proxy in front of the
    gateway.
    """
    url = f"{door or f'ws://127.0.0.1:{port}'}{path}"
    async with connect(url, max_size=None, **options) as connection:
        yield BridgeClient(connection)


def texts(messages: list[Message]) -> list[Any]:
    """Return the data of the event messages."""
    return [message["data"] for message in messages if message["type"] == "event"]


def carried(line: LogLine) -> bool:
    """Tell whether a line is the access line of a generation."""
    return "bridge" in line


def of_socket(line: LogLine) -> bool:
    """Tell whether a line is the access line of a socket."""
    return line.get("route") == "bridge"


def headers(*lines: str) -> dict[str, Any]:
    """Return options for `bridge_client` that add header lines to the handshake."""
    return {"additional_headers": [tuple(line.split(": ", 1)) for line in lines]}


async def endless(connection: UpstreamConnection) -> None:
    """Send an event every millisecond until the peer leaves."""
    await connection.read_request()
    await connection.send(STREAM_HEAD)
    while True:
        await connection.send(chunk(EVENTS[0]))
        await asyncio.sleep(0.001)


FLOOD = b'data: {"text": "%b"}\n\n' % (b"x" * 32 * 1024)


async def flood(connection: UpstreamConnection) -> None:
    """Send events as fast as the peer reads them."""
    await connection.read_request()
    await connection.send(STREAM_HEAD)
    while True:
        await connection.send(chunk(FLOOD))


async def under_way(client: BridgeClient, *tags: str | int) -> None:
    """Start generations, and wait for their heads."""
    for tag in tags:
        await client.create(tag)
    begun: set[str | int] = set()
    while begun != set(tags):
        said = await client.hear()
        assert said["type"] in ("created", "event"), said
        begun.add(said["id"])
