"""Raw client that sends exactly the bytes of a test, and parses responses strictly.

It can break every rule of HTTP, but tolerates no fault of the gateway: a malformed response raises
MalformedResponse. The test itself builds all but the simplest requests, and decides what the right
response is.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

from tests.support.block import AsyncBlock
from tests.support.waiting import PATIENCE_S

HOST = "gateway.test"

_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


class MalformedResponse(Exception):
    """The response violates RFC 9112."""


class ConnectionEnded(ConnectionError):
    """The gateway ended the connection before the expected bytes came."""


class End(Enum):
    """State of the gateway's side of the connection."""

    OPEN = "open"
    CLOSED = "closed"  # FIN
    RESET = "reset"  # RST


class Framing(Enum):
    """Framing of a body, which determines where it ends (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "content-length"
    CHUNKED = "chunked"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and header fields, in order, as received."""

    status: int
    reason: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    raw: bytes

    def values(self, name: str) -> list[bytes]:
        """Every value of a field, in order."""
        lowered = name.lower().encode()
        return [value for field, value in self.headers if field.lower() == lowered]

    def value(self, name: str) -> bytes | None:
        """The value of a field that must not stand twice; None if absent."""
        values = self.values(name)
        assert len(values) < 2, f"{name} stands {len(values)} times: {values}"
        return values[0] if values else None


@dataclass(frozen=True, slots=True)
class Response:
    """Final response with as much of its body as arrived."""

    head: Head
    body: bytes
    framing: Framing
    clean_end: bool
    """True if the body ended as its framing says, and was not cut short."""
    interim: tuple[Head, ...]
    """Interim (1xx) responses before it."""

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return self.head.headers

    def values(self, name: str) -> list[bytes]:
        """Every value of a field, in order."""
        return self.head.values(name)

    def value(self, name: str) -> bytes | None:
        """The value of a field that must not stand twice; None if absent."""
        return self.head.value(name)

    def json(self) -> Any:
        """Return the body, parsed as JSON."""
        return json.loads(self.body)


class RawClient(AsyncBlock, asyncio.Protocol):
    """TCP or TLS connection to the gateway, as an async context manager.

    `receive_buffer_bytes` sets SO_RCVBUF before connecting (Linux doubles it), for clients that
    read slowly.
    """

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        receive_buffer_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.end = End.OPEN
        self.ended_at: float | None = None
        """Loop time at which the gateway's FIN or RST was seen."""
        self.received_bytes = 0
        self._address = (host, port)
        self._receive_buffer_bytes = receive_buffer_bytes
        self._tls = tls
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    async def _enter(self) -> None:
        sock = socket.socket(socket.AF_INET)
        sock.setblocking(False)
        if self._receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)
        try:
            await self._loop.sock_connect(sock, self._address)
            await self._loop.create_connection(
                lambda: self,
                sock=sock,
                ssl=self._tls,
                server_hostname="localhost" if self._tls else None,
            )
        except BaseException:
            sock.close()
            raise

    async def _leave(self, error: BaseException | None) -> None:
        if self._transport is not None:
            self._transport.abort()
        await self._lost.wait()

    # -- writing -------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Write data, and wait while the send buffer is full. Raise ConnectionEnded."""
        self._live().write(data)
        await self._writable.wait()
        self._live()

    async def send_until_answered(self, pieces: Iterable[bytes]) -> int:
        """Write pieces until something comes back. Return the number of bytes written."""
        sent = 0
        for piece in pieces:
            if self._transport is None or self._answered():
                break
            self._transport.write(piece)
            sent += len(piece)
            async with asyncio.timeout(self._patience_s):
                while not (self._writable.is_set() or self._answered()):
                    self._changed.clear()
                    await self._changed.wait()
            await asyncio.sleep(0)  # let an answer in, and others run
        return sent

    def half_close(self) -> None:
        """Send FIN, and continue to read."""
        self._live().write_eof()

    def close(self) -> None:
        """Close both directions: send FIN, and RST for data that still comes (RFC 9293 section
        3.6.1).
        """
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Close the connection with RST."""
        if self._transport is not None:
            linger = struct.pack("ii", 1, 0)
            self.raw_socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()

    # -- reading -------------------------------------------------------------------------

    async def read_response(self, method: str = "GET") -> Response:
        """Return the next final response. If its body is cut short, `clean_end` is False.

        Raise ConnectionEnded if not even its head is complete.
        """
        interim: list[Head] = []
        while (head := await self.read_head()).status < 200 and head.status != 101:
            interim.append(head)
        framing, length = _framing(head, method)
        body = bytearray()
        clean_end = True
        try:
            if framing is Framing.LENGTH:
                while len(body) < length:
                    body += await self.read_some(length - len(body))
            elif framing is Framing.CHUNKED:
                while (data := await self.read_chunk()) is not None:
                    body += data
            elif framing is Framing.CLOSE:
                while True:
                    body += await self.read_some()
        except ConnectionEnded:
            # A body framed by the close of the connection ends cleanly with FIN, but not with RST.
            clean_end = framing is Framing.CLOSE and self.end is End.CLOSED
        return Response(head, bytes(body), framing, clean_end, tuple(interim))

    async def read_head(self) -> Head:
        """Return the next head, which may be an interim one."""
        return _parse_head(await self.read_until(b"\r\n\r\n"))

    async def read_chunk(self) -> bytes | None:
        """Return the data of the next chunk of a body, or None for the last chunk. Trailers count
        as malformed, since the gateway sends none.
        """
        line = (await self.read_until(b"\r\n"))[:-2]
        if not _CHUNK_SIZE.fullmatch(line):
            raise MalformedResponse(f"chunk size line {line!r}")
        size = int(line, 16)
        data = await self.read_exactly(size + 2)
        if data[-2:] != b"\r\n":
            raise MalformedResponse(f"chunk of {size} bytes ends in {data[-2:]!r}")
        return data[:-2] if size else None

    async def read_some(self, at_most: int | None = None) -> bytes:
        """Return the bytes that have arrived; wait for at least one."""
        while not self._buffer:
            await self._more("any byte")
        return self._take(len(self._buffer) if at_most is None else at_most)

    async def read_exactly(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        while len(self._buffer) < count:
            await self._more(f"{count} bytes")
        return self._take(count)

    async def read_until(self, end: bytes) -> bytes:
        """Return everything up to and including `end`."""
        while (index := self._buffer.find(end)) < 0:
            await self._more(repr(end))
        return self._take(index + len(end))

    async def read_to_end(self) -> bytes:
        """Return everything until the gateway ends the connection; `end` then says how."""
        await self._ended()
        return self._take(len(self._buffer))

    async def wait_closed(self) -> float:
        """Wait for the gateway's FIN or RST, and drop all data before. Return the loop time at
        which it came.
        """
        await self._ended(discard=True)
        assert self.ended_at is not None
        return self.ended_at

    @property
    def unread(self) -> bytes:
        """Bytes that have arrived and were not read yet."""
        return bytes(self._buffer)

    def pause_reading(self) -> None:
        """Stop reading from the socket, so that its receive window closes."""
        self._live().pause_reading()

    def resume_reading(self) -> None:
        """Resume reading from the socket."""
        self._live().resume_reading()

    def raw_socket(self) -> socket.socket:
        """Return the socket, for options that only a test sets."""
        return cast(socket.socket, self._live().get_extra_info("socket"))

    # -- private -------------------------------------------------------------------------

    def _live(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionEnded(f"{self.end.value}; unread: {bytes(self._buffer[:300])!r}")
        return self._transport

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def _more(self, what: str) -> None:
        if self.end is not End.OPEN or self._transport is None:
            raise ConnectionEnded(
                f"{self.end.value} before {what}; unread: {bytes(self._buffer[:300])!r}"
            )
        self._changed.clear()
        try:
            async with asyncio.timeout(self._patience_s):
                await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"no {what} within {self._patience_s} s; unread: {bytes(self._buffer[:300])!r}"
            ) from None

    async def _ended(self, *, discard: bool = False) -> None:
        async with asyncio.timeout(self._patience_s):
            while self.end is End.OPEN:
                self._changed.clear()
                await self._changed.wait()
                if discard:
                    self._buffer.clear()

    def _answered(self) -> bool:
        return self.received_bytes > 0 or self.end is not End.OPEN

    # -- asyncio callbacks ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self._buffer += data
        self._changed.set()

    def eof_received(self) -> bool:
        self._peer_ended(End.CLOSED)
        return self._tls is None  # TLS cannot stay half open

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if exc is not None:
            self._peer_ended(End.RESET)
        self._writable.set()
        self._changed.set()
        self._lost.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()
        self._changed.set()

    def _peer_ended(self, how: End) -> None:
        self.end = how
        if self.ended_at is None:
            self.ended_at = self._loop.time()
        self._changed.set()


def request(
    method: str = "GET",
    target: str = "/v1/x",
    *,
    headers: Iterable[str | bytes] = (),
    body: bytes | None = None,
    host: str | None = HOST,
) -> bytes:
    """Return the bytes of a request. It has Content-Length if there is a body, and no Host if
    `host` is None.
    """
    lines = [f"{method} {target} HTTP/1.1".encode("latin-1")]
    if host is not None:
        lines.append(b"Host: " + host.encode("latin-1"))
    lines += [line if isinstance(line, bytes) else line.encode("latin-1") for line in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + (body or b"")


async def ask(
    port: int, raw: bytes, method: str = "GET", *, patience_s: float = PATIENCE_S
) -> Response:
    """Send a request on a new connection. Return the response."""
    async with RawClient(port, patience_s=patience_s) as client:
        await client.send(raw)
        return await client.read_response(method)


def _parse_head(raw: bytes) -> Head:
    status_line, *lines = raw[:-4].split(b"\r\n")
    status = _STATUS_LINE.fullmatch(status_line)
    if status is None:
        raise MalformedResponse(f"status line {status_line!r}")
    fields = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise MalformedResponse(f"header line {line!r}")
        fields.append((field[1], field[2]))
    return Head(int(status[1]), status[2], tuple(fields), raw)


def _framing(head: Head, method: str) -> tuple[Framing, int]:
    codings, lengths = head.values("transfer-encoding"), head.values("content-length")
    if codings and lengths:
        raise MalformedResponse("both Transfer-Encoding and Content-Length")
    if codings not in ([], [b"chunked"]) or len(lengths) > 1:
        raise MalformedResponse(f"ambiguous framing: {codings} {lengths}")
    if lengths and not lengths[0].isdigit():
        raise MalformedResponse(f"Content-Length {lengths[0]!r}")
    if method == "HEAD" or head.status in (204, 304) or head.status < 200:
        return Framing.NONE, 0
    if codings:
        return Framing.CHUNKED, 0
    if lengths:
        return Framing.LENGTH, int(lengths[0])
    return Framing.CLOSE, 0
