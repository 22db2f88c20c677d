"""Messages between workers, over their Unix sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.load.tasks import BackgroundTasks
from gateway.worker_sockets import GONE, WorkerSockets, read_message, write_message


@pytest.fixture
async def tasks() -> AsyncIterator[BackgroundTasks]:
    tasks = BackgroundTasks()
    yield tasks
    await tasks.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        document, blocks = await read_message(reader)
        write_message(writer, document, blocks)


async def test_a_message_arrives_with_its_blocks(tmp_path: Path, tasks: BackgroundTasks) -> None:
    WorkerSockets(tmp_path, "test", 0, tasks).listen(echo)
    reader, writer = await WorkerSockets(tmp_path, "test", 1, tasks).connect(0)
    for document, blocks in (({}, []), ({"do": "x"}, [b"one\n", b"", b"\n"]), ({"n": 1}, [])):
        write_message(writer, document, blocks)
        assert await read_message(reader) == (document, blocks)
    writer.close()


async def test_a_worker_that_is_not_there_is_gone(tmp_path: Path, tasks: BackgroundTasks) -> None:
    with pytest.raises(GONE):
        await WorkerSockets(tmp_path, "test", 1, tasks).connect(0)


async def test_a_worker_that_stops_is_gone(tmp_path: Path, tasks: BackgroundTasks) -> None:
    theirs = BackgroundTasks()
    WorkerSockets(tmp_path, "test", 0, theirs).listen(echo)
    reader, writer = await WorkerSockets(tmp_path, "test", 1, tasks).connect(0)
    write_message(writer, {})
    await read_message(reader)
    await theirs.close()
    with pytest.raises(GONE):
        await read_message(reader)
    writer.close()


async def test_a_socket_that_a_dead_worker_left_is_replaced(
    tmp_path: Path, tasks: BackgroundTasks
) -> None:
    (tmp_path / "test-0.sock").touch()
    sockets = WorkerSockets(tmp_path, "test", 0, tasks)
    sockets.listen(echo)
    reader, writer = await sockets.connect(0)
    write_message(writer, {"n": 1})
    assert await read_message(reader) == ({"n": 1}, [])
    writer.close()


async def test_a_line_that_is_too_long_ends_the_connection(
    tmp_path: Path, tasks: BackgroundTasks
) -> None:
    reader = asyncio.StreamReader(limit=8)
    reader.feed_data(b"x" * 64)
    with pytest.raises(GONE):
        await read_message(reader)
