"""Backends that die, hang or become slow, and clients that judge their responses."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from contextlib import suppress
from enum import Enum

from tests.support.waiting import PATIENCE_S

EVENTS = 20
_PACE_S = 0.05
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Mode(Enum):
    """Behaviours of a backend."""

    WELL = "well"
    SLOW = "slow"
    """The backend answers after one second."""
    HUNG = "hung"
    """The backend accepts connections, but sends nothing more, even in the middle of a stream."""
    DEAD = "dead"
    """The port is closed, and open connections are reset."""


class Backend:
    """OpenAI-compatible backend, which keeps its port when it dies and returns."""

    def __init__(self) -> None:
        self.mode = Mode.WELL
        self.port = 0
        self.died_under: set[str] = set()
        """Ids of the requests that were in flight when it died or hung."""
        self._server: asyncio.Server | None = None
        self._awake = asyncio.Event()
        self._awake.set()
        self._open: dict[asyncio.StreamWriter, str | None] = {}

    @property
    def url(self) -> str:
        """URL of the backend, which stays the same."""
        return f"http://127.0.0.1:{self.port}"

    async def become(self, mode: Mode) -> None:
        """Change the behaviour."""
        if mode in (Mode.DEAD, Mode.HUNG):
            self.died_under |= {number for number in self._open.values() if number is not None}
        self.mode = mode
        self._awake.clear() if mode is Mode.HUNG else self._awake.set()
        if mode is Mode.DEAD:
            await self.stop()
        elif self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, backlog=1000
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, and reset every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await self._answer(reader, writer)
                self._open[writer] = None
        self._open.pop(writer, None)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await self._awake.wait()
        if head.startswith(b"GET "):
            await _write(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        asked = json.loads(await reader.readexactly(length))
        if self.mode is Mode.SLOW:
            await asyncio.sleep(1.0)
        await self._awake.wait()
        self._open[writer] = asked["user"]
        if not asked["stream"]:
            body = json.dumps({"user": asked["user"]}).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            await _write(writer, head + body)
            return
        await _write(writer, _HEAD)
        for number in range(EVENTS):
            event = b"data: %d\n\n" % number
            await _write(writer, b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(_PACE_S)
            await self._awake.wait()
        await _write(writer, b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if writer.is_closing():
        raise ConnectionResetError  # uvloop raises RuntimeError instead
    writer.write(data)
    await writer.drain()


_COMPLETE = b"".join(b"data: %d\n\n" % number for number in range(EVENTS)) + b"data: [DONE]\n\n"


class Clients:
    """Clients that send requests continuously, and count the outcomes."""

    def __init__(self, port: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.suspects: list[tuple[str, str, float, bytes]] = []
        """Id, outcome, time and bytes of requests that neither completed nor ended with an error
        event.
        """
        self.told: list[str] = []
        """Ids of the streams that ended with an error event."""
        self.running = True
        self._port = port
        self._numbers = iter(range(10**9))

    async def ask_on(self, *, stream: bool) -> None:
        """Send requests until `running` is False."""
        while self.running:
            number = f"{'s' if stream else 'u'}{next(self._numbers)}"
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(2 * PATIENCE_S):
                    answer = await self._ask(number, stream=stream)
            except TimeoutError:
                answer = b"timeout"
            outcome = self._judged(number, answer, stream=stream)
            kind = "stream" if stream else "unary"
            self.outcomes[f"{kind} {outcome}"] += 1
            if outcome == "told":
                self.told.append(number)
            elif outcome != "complete":
                self.suspects.append((number, outcome, began, answer[-300:]))
            await asyncio.sleep(random.uniform(0.0, 0.1))

    async def _ask(self, number: str, *, stream: bool) -> bytes:
        body = json.dumps({"model": "m", "user": number, "stream": stream, "messages": []}).encode()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError as exc:
            return f"connect: {exc}".encode()
        received = b""
        try:
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            while data := await reader.read(65536):
                received += data
        except OSError as exc:
            received += f"<{type(exc).__name__}>".encode()
        finally:
            writer.close()
        return received

    @staticmethod
    def _judged(number: str, answer: bytes, *, stream: bool) -> str:
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            return "refused" if head.startswith(b"HTTP/1.1") else "cut"
        if not stream:
            return "complete" if number.encode() in body else "cut"
        data, clean = _unchunked(body)
        if clean:
            return "complete" if data == _COMPLETE else "short"
        return "told" if b'"error"' in data and data.endswith(b"\n\n") else "cut"


def _unchunked(body: bytes) -> tuple[bytes, bool]:
    """Return the data of the chunks, and True if the last chunk is there."""
    data = b""
    while body:
        line, separator, rest = body.partition(b"\r\n")
        if not separator:
            break
        try:
            size = int(line, 16)
        except ValueError:
            break
        if not size:
            return data, True
        data += rest[:size]
        body = rest[size + 2 :]
    return data, False
