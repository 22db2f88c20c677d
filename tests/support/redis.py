"""A real redis-server on a port of its own."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

_BINARY = shutil.which("redis-server") or "/usr/bin/redis-server"
_PATIENCE_S = 10.0
_ATTEMPTS = 5

StartRedis = Callable[[], Awaitable["Redis"]]


class Redis:
    """redis-server, without persistence."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """For clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self, *options: str) -> None:
        """Start it, on the same port if it ran before, and wait until it answers."""
        for _ in range(_ATTEMPTS):
            port = self.port or _free_port()
            self._process = await asyncio.create_subprocess_exec(
                *(_BINARY, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self._folder)),
                *("--save", "", "--appendonly", "no", *options),
                stdout=asyncio.subprocess.DEVNULL,
            )
            if await self._answers(port):
                self.port = port
                return
        raise AssertionError("redis-server does not start")

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP makes it hang, SIGCONT go on, SIGKILL ends it."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> None:
        """End it, however it is."""
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def command(self, *words: str) -> bytes:
        """Its answer to one command, as it came."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"*%d\r\n" % len(words))
        for word in words:
            writer.write(b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()))
        answer = await reader.readline()
        writer.close()
        return answer

    async def _answers(self, port: int) -> bool:
        assert self._process is not None
        async with asyncio.timeout(_PATIENCE_S):
            while self._process.returncode is None:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.01)
                    continue
                writer.write(b"PING\r\n")
                answer = await reader.readline()
                writer.close()
                if answer.startswith((b"+PONG", b"-NOAUTH")):
                    return True
        return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
