"""A connection to an upstream without sockets: bytes are handed to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

from gateway.errors import GatewayError
from gateway.load.backlog import Backlog
from gateway.load.turn_writes import TurnWrites
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.head import ResponseHead
from gateway.upstream.reader import FutureReader
from gateway.upstream.response import UpstreamResponse

STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TINY = b"1\r\na\r\n"
LAST = b"0\r\n\r\n"
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Transport:
    """Takes everything and sends nothing."""

    def __init__(self) -> None:
        self.aborted = False
        self.reads = True

    def get_extra_info(self, name: str, default: None = None) -> None:
        """It has no TLS."""

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def write(self, data: bytes) -> None:
        pass

    def writelines(self, pieces: Iterable[bytes]) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


class Connected:
    """Connection that is open, and what it received and sent."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(64 * 1024))
        self.transport = Transport()
        self.connection = UpstreamConnection(
            asyncio.get_running_loop(),
            lambda _: None,
            lambda _: None,
            self._buffer,
            Backlog(asyncio.get_running_loop()),
            TurnWrites(),
        )
        self.connection.connection_made(cast(asyncio.Transport, self.transport))

    def send(self, head_only: bool = False, upgrade: bool = False) -> FutureReader:
        reader = FutureReader(asyncio.get_running_loop())
        self.connection.send(
            b"GET / HTTP/1.1\r\n\r\n",
            reader,
            first_byte_s=5.0,
            idle_s=5.0,
            head_only=head_only,
            upgrade=upgrade,
        )
        return reader

    def receive(self, data: bytes) -> None:
        self._buffer[: len(data)] = data
        self.connection.buffer_updated(len(data))


class Recorder:
    """A reader that keeps what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, bool, GatewayError | None]] = []
        self.heads: list[ResponseHead] = []

    def answered(self, response: UpstreamResponse) -> None:
        self.heads.append(response.head)
        self.calls.append((b"".join(response.unread), response.complete, response.error))

    def failed(self, error: GatewayError) -> None:
        self.calls.append((b"failed", False, error))
