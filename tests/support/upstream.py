"""Scripted upstream: a TCP server that sends exactly the bytes, pauses and resets of a test.

It can break every rule of HTTP. Requests are parsed only as far as necessary to find their end.
Each connection is handled by a script:

    async with ScriptedUpstream(json_reply({"ok": True})) as upstream: ...

Without a script, a connection waits until the test accepts it and handles it:

    connection = await upstream.accept()
    request = await connection.read_request()
    await connection.send(STREAM_HEAD + chunk(b"data: 1\\n\\n"))
    connection.reset()
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import ssl
import struct
import termios
import time
from array import array
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from tests.support.block import AsyncBlock
from tests.support.waiting import PATIENCE_S, eventually

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"


class PeerGone(ConnectionError):
    """The gateway closed the connection, but the script expected more."""


@dataclass(frozen=True, slots=True)
class Request:
    """Request as it arrived: `headers` in order, `raw` including the framing."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    raw: bytes

    def values(self, name: str) -> list[bytes]:
        """Every value of a header field, in order."""
        lowered = name.lower().encode()
        return [value for field, value in self.headers if field.lower() == lowered]

    def value(self, name: str) -> bytes | None:
        """The value of a header field that must not stand twice; None if absent."""
        values = self.values(name)
        assert len(values) < 2, f"{name} stands {len(values)} times: {values}"
        return values[0] if values else None


class UpstreamConnection(asyncio.Protocol):
    """Accepted connection, controlled by a script or a test."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self.requests: list[Request] = []
        """The requests read from this connection."""
        self.received_bytes = 0
        self.gone_at: float | None = None
        """Loop time at which the peer's close or reset was seen."""
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None

    # -- reading -------------------------------------------------------------------------

    async def read_request(self) -> Request:
        """Return the next whole request. Raise PeerGone if the connection ends before."""
        head, method, target, headers = await self.read_head()
        lengths = [int(value) for name, value in headers if name.lower() == b"content-length"]
        codings = [value for name, value in headers if name.lower() == b"transfer-encoding"]
        body, raw_body = b"", b""
        if codings:
            body, raw_body = await self._read_chunked()
        elif lengths:
            body = raw_body = await self.read_exactly(lengths[0])
        request = Request(method, target, headers, body, head + raw_body)
        self.requests.append(request)
        self.upstream.requests.append(request)
        self.upstream.request_seen.set()
        return request

    async def read_head(self) -> tuple[bytes, str, str, tuple[tuple[bytes, bytes], ...]]:
        """Return raw head, method, target and header fields. The body stays unread."""
        head = await self._read_until(b"\r\n\r\n")
        request_line, *lines = head[:-4].split(b"\r\n")
        method, target, _version = request_line.decode("latin-1").split(" ")
        headers = tuple(
            (name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)
        )
        return head, method, target, headers

    async def read_exactly(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        while len(self._buffer) < count:
            await self._more()
        return self._take(count)

    async def read_some(self) -> bytes:
        """Return the bytes that have arrived; wait for at least one."""
        while not self._buffer:
            await self._more()
        return self._take(len(self._buffer))

    def pause_reading(self) -> None:
        """Stop reading from the socket, so that its buffers fill up."""
        self._live().pause_reading()

    def resume_reading(self) -> None:
        """Resume reading from the socket."""
        self._live().resume_reading()

    async def wait_client_gone(self, patience_s: float = PATIENCE_S) -> float:
        """Wait until the peer closes, and drop all bytes before. Return the loop time at which the
        close was seen.
        """
        async with asyncio.timeout(patience_s):
            while self.gone_at is None:
                self._changed.clear()
                await self._changed.wait()
                self._buffer.clear()
        return self.gone_at

    async def _read_until(self, end: bytes) -> bytes:
        while (index := self._buffer.find(end)) < 0:
            await self._more()
        return self._take(index + len(end))

    async def _read_chunked(self) -> tuple[bytes, bytes]:
        body: list[bytes] = []
        raw: list[bytes] = []
        while True:
            line = await self._read_until(b"\r\n")
            raw.append(line)
            size = int(line.split(b";")[0], 16)
            if size == 0:
                while (line := await self._read_until(b"\r\n")) != b"\r\n":
                    raw.append(line)
                raw.append(line)
                return b"".join(body), b"".join(raw)
            data = await self.read_exactly(size + 2)
            raw.append(data)
            body.append(data[:-2])

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def _more(self) -> None:
        if self.gone_at is not None:
            raise PeerGone(f"the peer closed; unread: {bytes(self._buffer[:80])!r}")
        self._changed.clear()
        await self._changed.wait()

    # -- writing -------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Write data, and wait while the send buffer is full. Raise PeerGone if the peer closed."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise PeerGone("the peer closed before everything was sent")
        transport.write(data)
        await self._writable.wait()
        if self._transport is None:
            raise PeerGone("the peer closed before everything was sent")

    async def delivered(self) -> None:
        """Wait until the peer's kernel has everything, so that a reset cannot overtake it."""
        sock, unsent = self.raw_socket(), array("i", [0])

        def all_acknowledged() -> bool:
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, unsent)  # SIOCOUTQ: tcp(7)
            return not unsent[0] and not self._live().get_write_buffer_size()

        await eventually(all_acknowledged)

    def half_close(self) -> None:
        """Send FIN, and continue to read: the peer sent later data to a closing connection."""
        self._live().write_eof()

    def close(self) -> None:
        """Send the data written so far, then close."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Close with RST. Data that the peer has not acknowledged yet is lost."""
        if self._transport is not None:
            self.raw_socket().setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self._transport.abort()

    def raw_socket(self) -> socket.socket:
        """Return the socket, for options that only a test sets."""
        return cast(socket.socket, self._live().get_extra_info("socket"))

    @property
    def is_open(self) -> bool:
        """True until either side closes the connection."""
        return self._transport is not None and not self._transport.is_closing()

    def _live(self) -> asyncio.Transport:
        if self._transport is None:
            raise PeerGone("the connection is closed")
        return self._transport

    # -- asyncio callbacks ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.upstream.opened(self)

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self._buffer += data
        self._changed.set()

    def eof_received(self) -> bool:
        self._left()
        return self._live().get_extra_info("sslcontext") is None  # TLS cannot stay half open

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._left()
        self._writable.set()
        self.upstream.lost(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _left(self) -> None:
        if self.gone_at is None:
            self.gone_at = self._loop.time()
        self._changed.set()


Script = Callable[[UpstreamConnection], Awaitable[None]]
"""Function that handles one connection. When it returns, the connection is closed."""


class ScriptedUpstream(AsyncBlock):
    """Upstream server, as an async context manager. Failures of scripts are raised on exit."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        send_buffer_bytes: int | None = None,
    ) -> None:
        self.script = script
        """Script of new connections; it may be changed at any time."""
        self.requests: list[Request] = []
        """Every whole request read, over all connections, in order."""
        self.request_seen = asyncio.Event()
        self.connections: list[UpstreamConnection] = []
        """Every connection ever accepted, in order."""
        self.open_connections = 0
        self.server_names: list[str | None] = []
        """Server name that each TLS client sent by SNI (RFC 6066 section 3)."""
        self._tls = tls
        self._host = host
        self._send_buffer_bytes = send_buffer_bytes
        self._server: asyncio.Server | None = None
        self._scripts: dict[UpstreamConnection, asyncio.Task[None]] = {}
        self._unclaimed: asyncio.Queue[UpstreamConnection] = asyncio.Queue()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self.steps: asyncio.Queue[tuple[bytes | None, asyncio.Future[float]]] = asyncio.Queue()
        self.port = 0

    @property
    def url(self) -> str:
        """URL for `endpoints: [{url: ...}]`. With TLS it has a name, which certificates require."""
        return f"https://localhost:{self.port}" if self._tls else f"http://{self._host}:{self.port}"

    async def _enter(self) -> None:
        listener = socket.create_server((self._host, 0), backlog=1024)
        if self._send_buffer_bytes is not None:
            # Accepted sockets inherit this option.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer_bytes)
        self.port = listener.getsockname()[1]
        if self._tls is not None:
            self._tls.sni_callback = lambda _socket, name, _context: self.server_names.append(name)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: UpstreamConnection(self), sock=listener, ssl=self._tls
        )

    async def _leave(self, error: BaseException | None) -> None:
        failures = await self.stop()
        if failures and error is None:
            raise ExceptionGroup("upstream scripts failed", failures)

    async def stop(self) -> list[Exception]:
        """Refuse new connections, and reset the open ones. Return the failures of scripts."""
        if self._server is None:
            return []
        self._server.close()
        self._server = None
        for task in self._scripts.values():
            task.cancel()
        outcomes = await asyncio.gather(*self._scripts.values(), return_exceptions=True)
        for connection in self.connections:
            connection.reset()
        await self.wait_closed()
        return [outcome for outcome in outcomes if isinstance(outcome, Exception)]

    # -- for the test --------------------------------------------------------------------

    async def accept(self) -> UpstreamConnection:
        """Return the next connection that has no script."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._unclaimed.get()

    async def wait_requests(self, count: int) -> list[Request]:
        """Wait for `count` requests. Return all requests."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.requests) < count:
                self.request_seen.clear()
                await self.request_seen.wait()
        return self.requests

    async def wait_closed(self) -> None:
        """Return when no connection is open."""
        async with asyncio.timeout(PATIENCE_S):
            await self._all_closed.wait()

    async def release(self, data: bytes) -> float:
        """Let `stepped_stream` send these bytes as one chunk. Return the time of the write, in
        `time.perf_counter` seconds, since uvloop's own time has a resolution of 1 ms.
        """
        return await self._step(data)

    async def finish(self) -> float:
        """Let `stepped_stream` end its stream cleanly. Return the time of the write as `release`
        does.
        """
        return await self._step(None)

    async def _step(self, data: bytes | None) -> float:
        written: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.steps.put_nowait((data, written))
        async with asyncio.timeout(PATIENCE_S):
            return await written

    # -- for connections -----------------------------------------------------------------

    def opened(self, connection: UpstreamConnection) -> None:
        self.connections.append(connection)
        self.open_connections += 1
        self._all_closed.clear()
        if self._server is None:
            connection.reset()  # its handshake was not complete when the server stopped
        elif self.script is None:
            self._unclaimed.put_nowait(connection)
        else:
            play = self._play(self.script, connection)
            self._scripts[connection] = asyncio.get_running_loop().create_task(play)

    async def _play(self, script: Script, connection: UpstreamConnection) -> None:
        try:
            with suppress(PeerGone):
                await script(connection)
        finally:
            connection.close()

    def lost(self, _connection: UpstreamConnection) -> None:
        self.open_connections -= 1
        if not self.open_connections:
            self._all_closed.set()


# -- bytes -----------------------------------------------------------------------------------


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def reply(
    body: bytes = b"",
    *,
    status: str = "200 OK",
    content_type: str = "application/json",
    headers: Iterable[str] = (),
) -> bytes:
    """Return a whole response with Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


# -- ready-made scripts ----------------------------------------------------------------------


def raw_reply(data: bytes | Callable[[Request], bytes]) -> Script:
    """Answer every request on a kept-alive connection with these bytes."""

    async def script(connection: UpstreamConnection) -> None:
        while True:
            request = await connection.read_request()
            await connection.send(data if isinstance(data, bytes) else data(request))

    return script


def json_reply(payload: object, *, status: str = "200 OK", headers: Iterable[str] = ()) -> Script:
    """Answer every request with this JSON document."""
    return raw_reply(reply(json.dumps(payload).encode(), status=status, headers=headers))


def reply_then_close(data: bytes) -> Script:
    """Answer one request with these bytes, then close."""

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(data)

    return script


def reply_then_reset(data: bytes = b"") -> Script:
    """Read one request, send these bytes if any, then RST. The RST may discard the bytes."""

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        if data:
            await connection.send(data)
        connection.reset()

    return script


def sse_reply(events: Iterable[bytes], *, head: bytes = STREAM_HEAD) -> Script:
    """Answer every request with these events, each in one write and one chunk, and a clean end."""
    chunks = [chunk(event) for event in events]

    async def script(connection: UpstreamConnection) -> None:
        while True:
            await connection.read_request()
            await connection.send(head)
            for data in chunks:
                await connection.send(data)
            await connection.send(LAST_CHUNK)

    return script


def stepped_stream(head: bytes = STREAM_HEAD) -> Script:
    """Send the head, then each chunk when the test calls `upstream.release`, until `finish`."""

    async def script(connection: UpstreamConnection) -> None:
        upstream = connection.upstream
        while True:
            await connection.read_request()
            await connection.send(head)
            data: bytes | None = b""
            while data is not None:
                data, written = await upstream.steps.get()
                sent_at = time.perf_counter()
                await connection.send(LAST_CHUNK if data is None else chunk(data))
                written.set_result(sent_at)

    return script


async def hang(connection: UpstreamConnection) -> None:
    """Read one request and never answer. Wait until the peer closes."""
    await connection.read_request()
    await connection.wait_client_gone(60)
