"""Replies of Redis that are not those of the limits' script."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.limiting.demand import Demand, Kind
from gateway.store.records import StoreUnavailable
from gateway.stores.redis.limits import RedisLimits
from tests.support.waiting import PATIENCE_S


@pytest.mark.parametrize("reply", [b"*1\r\n:-1\r\n", b"*3\r\n:-1\r\n:5\r\n$1\r\nx\r\n"])
async def test_a_reply_of_another_form_fails_the_call(reply: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while received := await reader.read(65536):
                calls = received.count(b"\r\nEVALSHA\r\n")
                commands = sum(line.startswith(b"*") for line in received.splitlines())
                writer.write(b"+OK\r\n" * (commands - calls) + reply * calls)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        limits = RedisLimits(f"redis://127.0.0.1:{port}/0?protocol=2", timeout_s=PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(StoreUnavailable):
                await limits.decide([Demand(Kind.TAKE, "k", 1.0, 5.0, 0.001)])
            await limits.close()
