"""Unix sockets by which the workers of one gateway talk to each other, without Redis.

Each worker listens on a socket of its own in a folder that all share. A message is a line of JSON,
followed by blocks of bytes. Their sizes are in the line, as `sizes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import orjson

from gateway.load.tasks import BackgroundTasks

LATE_S = 5.0
"""Time limit on a reply of another worker."""
GONE = (OSError, EOFError)
"""Errors that mean that a worker is gone. TimeoutError is an OSError, but means that it is late."""
_LINE_BYTES = 4 * 1024 * 1024
"""Limit for a line. It contains the sizes of all blocks of its message."""
_BACKLOG = 1024
Document = dict[str, Any]
Message = tuple[Document, list[bytes]]
Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class WorkerSockets:
    """Sockets of one kind, one for each worker."""

    def __init__(self, folder: Path, kind: str, slot: int, tasks: BackgroundTasks) -> None:
        """`slot` is that of this worker. `kind` is the first part of the sockets' names."""
        self._folder = folder
        self._kind = kind
        self._slot = slot
        self._tasks = tasks

    def listen(self, reply: Reply) -> None:
        """Run `reply` for each connection of another worker. Connections that come before the event
        loop runs wait.
        """
        path = self._path(self._slot)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # left by a worker that died
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(_BACKLOG)
        self._tasks.spawn(self._serve(listening, reply))

    async def connect(self, slot: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to another worker. Raise OSError."""
        path = str(self._path(slot))
        return await asyncio.open_unix_connection(path, limit=_LINE_BYTES)

    async def _serve(self, listening: socket.socket, reply: Reply) -> None:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._tasks.spawn(_answered(reply, reader, writer))

        server = await asyncio.start_unix_server(connected, sock=listening, limit=_LINE_BYTES)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    def _path(self, slot: int) -> Path:
        return self._folder / f"{self._kind}-{slot}.sock"


async def _answered(
    reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        await reply(reader, writer)
    except GONE:
        pass  # the worker that asked is gone
    finally:
        writer.close()


def write_message(
    writer: asyncio.StreamWriter, document: Document, blocks: Sequence[bytes] = ()
) -> None:
    """Write a message. Does not wait."""
    sizes = [len(block) for block in blocks]
    writer.writelines([orjson.dumps({**document, "sizes": sizes}) + b"\n", *blocks])


async def read_message(reader: asyncio.StreamReader) -> Message:
    """Return the next message. Raise one of GONE."""
    try:
        document: Document = orjson.loads(await reader.readuntil(b"\n"))
    except asyncio.LimitOverrunError as exc:
        raise EOFError from exc
    return document, [await reader.readexactly(size) for size in document.pop("sizes")]
