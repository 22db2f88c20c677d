"""Requests for streams that are kept, and what is in their answers."""

from __future__ import annotations

import re
from typing import Protocol

from tests.support.client import Head, RawClient, Response, request
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import PATIENCE_S

EVENTS = [b'data: {"n": %d}\n\n' % n for n in range(1, 9)]
BODY = b'{"model": "m", "stream": true}'
EVENT = re.compile(rb"id: ([0-9a-f]{34})\.([0-9]+)\n(.*?\n\n)", re.DOTALL)


ALIVE_S, TICK_S = 1.5, 0.3
IMPATIENT = f"""
from gateway.stores.redis import watched
from gateway.stores.redis.streams import sharing, written
written.ALIVE_S = sharing.ALIVE_S = {ALIVE_S}
watched.TICK_S = sharing.TICK_S = {TICK_S}
sharing.RedisSharing.__init__.__kwdefaults__["timeout_s"] = {PATIENCE_S}
"""
"""Runs first in a gateway process: one that says nothing is given up sooner, for tests to be
short. But Redis is waited for. The fixture `impatient` does the same to gateways in the test's
event loop.
"""


class Door(Protocol):
    """A gateway, whichever way it runs."""

    @property
    def port(self) -> int:
        """Where it listens."""


def post(*headers: str, body: bytes = BODY) -> bytes:
    """A request for a stream."""
    headers = ("Content-Type: application/json", *headers)
    return request("POST", "/v1/chat/completions", headers=headers, body=body)


def stream_id(response: Response | Head) -> str:
    """What the response says."""
    value = response.value("x-stream-id")
    assert value is not None
    return value.decode()


def numbers(body: bytes) -> list[int]:
    """Of the events of a body, which is nothing else."""
    found = EVENT.findall(body)
    assert b"".join(b"id: %b.%b\n%b" % event for event in found) == body
    return [int(number) for _, number, _ in found]


def payload(body: bytes) -> list[bytes]:
    """The events of a body as their upstream sent them."""
    return [event for _, _, event in EVENT.findall(body)]


async def ask(gateway: Door, raw: bytes, method: str = "GET") -> Response:
    """The answer, on a connection of its own."""
    async with RawClient(gateway.port) as client:
        await client.send(raw)
        return await client.read_response(method)


def follow(stream: str, *headers: str, query: str = "", method: str = "GET") -> bytes:
    """A request for a stream that is kept."""
    return request(method, f"/v1/streams/{stream}{query}", headers=headers)


async def begin(gateway: Door, upstream: ScriptedUpstream, *headers: str) -> str:
    """Begin a stream, read its first event, and reset the connection; the stream's id."""
    async with RawClient(gateway.port) as client:
        await client.send(post(*headers))
        head = await client.read_head()
        await upstream.release(EVENTS[0])
        assert payload(await client.read_chunk() or b"") == EVENTS[:1]
        client.reset()
    return (head.value("x-stream-id") or b"").decode()
