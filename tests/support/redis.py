"""Real redis-server on its own port, and a slow link to it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

from tests.support.block import AsyncBlock
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S, asked_until

_BINARY = shutil.which("redis-server") or "/usr/bin/redis-server"
_ATTEMPTS = 5


class StartRedis(Protocol):
    """Type of the fixture: `await start_redis("--maxmemory", "1mb")`. The option "--sentinel"
    starts a sentinel.
    """

    def __call__(self, *options: str) -> Awaitable[Redis]:
        """Start a server. It is stopped when the test ends."""


class Redis:
    """Process of redis-server, without persistence. It writes to `folder`, which must exist."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.password = ""
        """Password that `command` sends, for a server with `--requirepass`."""

    @property
    def url(self) -> str:
        """URL for clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start the server, on the same port if it ran before, and wait until it answers."""
        file = self._folder / "redis.conf"  # empty; a sentinel stores its state in it
        file.touch()
        for _ in range(_ATTEMPTS):
            port = self.port or free_port()
            self._process = await asyncio.create_subprocess_exec(
                *(_BINARY, str(file), "--port", str(port), "--bind", "127.0.0.1"),
                *("--dir", str(self._folder), "--save", "", "--appendonly", "no", *self._options),
                stdout=asyncio.subprocess.DEVNULL,
            )
            if await self._answers(port):
                self.port = port
                return
        raise AssertionError("redis-server does not start")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP makes the server hang, SIGCONT continues it, SIGKILL ends it."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> None:
        """Kill the server, in whatever state it is."""
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def command(self, *words: str) -> bytes:
        """Send one command. Return the content of a bulk string, or the first line of any other
        reply.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        if self.password:
            writer.write(b"AUTH %b\r\n" % self.password.encode())
            assert await reader.readline() == b"+OK\r\n"
        writer.write(b"*%d\r\n" % len(words))
        for word in words:
            writer.write(b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()))
        answer = await reader.readline()
        if answer[:1] == b"$" and answer != b"$-1\r\n":
            answer = (await reader.readexactly(int(answer[1:]) + 2))[:-2]
        writer.close()
        return answer

    async def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO, such as "memory", "replication" or "keyspace"."""
        lines = (await self.command("INFO", section)).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    async def _answers(self, port: int) -> bool:
        assert self._process is not None
        process = self._process

        async def answers() -> bool | None:
            if process.returncode is not None:
                return False
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"PING\r\n")
            answer = await reader.readline()
            writer.close()
            return True if answer.startswith((b"+PONG", b"-NOAUTH")) else None

        answered = await asked_until(
            answers,
            lambda found: found is not None,
            unless=(OSError,),  # does not listen yet
            patience_s=PATIENCE_S,
        )
        return bool(answered)


class SlowLink(AsyncBlock):
    """Proxy to a Redis that delays its replies by `delay_s`."""

    def __init__(self, redis: Redis) -> None:
        self.delay_s = 0.0
        self._target = redis.port
        self._port = 0
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        """URL for clients."""
        return f"redis://127.0.0.1:{self._port}/0"

    async def _enter(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _leave(self, error: BaseException | None) -> None:
        self._server.close()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer, late=True))
        finally:
            del self._connections[task]
            back.close()
            writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if late and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if writer.is_closing():
                    return
                writer.write(data)
                await writer.drain()
        writer.close()
