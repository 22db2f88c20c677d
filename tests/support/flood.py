"""Streams that are faster than any client, and clients that do not read them."""

from __future__ import annotations

from tests.support.client import RawClient, request
from tests.support.upstream import STREAM_HEAD, UpstreamConnection, chunk
from tests.support.waiting import settled

KIB = 1024
VAST_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n"
PAGE = b"data: " + b"x" * (4 * KIB - 8) + b"\n\n"
_AT_ONCE = 8
"""Pages in one write. An upstream writes megabytes until the kernel's buffers are full."""


class Flood:
    """Script for endless streams, chunked or with a huge length. Counts the pages written."""

    def __init__(self, *, chunked: bool = True) -> None:
        self.sent = 0
        self._head = STREAM_HEAD if chunked else VAST_HEAD
        self._pages = _AT_ONCE * (chunk(PAGE) if chunked else PAGE)

    async def __call__(self, connection: UpstreamConnection) -> None:
        await connection.send(self._head)
        while True:
            await connection.send(self._pages)
            self.sent += _AT_ONCE

    async def stalled(self) -> None:
        """Wait until nothing could be written for 150 ms."""
        await settled(lambda: self.sent, quiet_s=0.15)


async def open_and_stall(client: RawClient) -> None:
    """Request a stream, read its head, and stop reading."""
    await client.send(request(target="/v1/stream"))
    assert (await client.read_head()).status == 200
    client.pause_reading()
