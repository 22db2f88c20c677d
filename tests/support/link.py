"""Network between a client and a server that tests interrupt: a TCP relay."""

from __future__ import annotations

import asyncio
import contextlib

from tests.support.block import AsyncBlock


class Link(AsyncBlock):
    """Relay to a port of this machine, as an async context manager."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        """Port of the server; it may be changed for new connections."""
        self.is_up = True
        """False to close new connections at once."""
        self.port = 0
        self._passed = b""
        self._passing = asyncio.Event()
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def _enter(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _leave(self, error: BaseException | None) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    @property
    def url(self) -> str:
        """URL of the server as a client of the link sees it."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def saw(self, data: bytes) -> None:
        """Wait until this data has passed, since the last call."""
        while data not in self._passed:
            self._passing.clear()
            await self._passing.wait()
        self._passed = b""

    async def end_after(self, data: bytes) -> None:
        """Close all connections once this data has passed: the clients still receive it."""
        await self.saw(data)
        for writer in self._writers:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_up:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        for source, sink in ((reader, back), (there, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                self._passed += data
                self._passing.set()
                await sink.drain()
        sink.close()
        self._writers.discard(sink)
