"""The watch over a stream that has to end at a certain time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from gateway.errors import GatewayError
from gateway.server.expiry import Expiry
from tests.support.waiting import PATIENCE_S


class Writer:
    def __init__(self, *, is_stream: bool = True) -> None:
        self.is_stream = is_stream

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def fail(self, error: GatewayError) -> None:
        raise AssertionError("the connection fails it")

    def probe(self) -> bool:
        return True


async def ends_of(writer: Writer, in_s: float, waits_s: float) -> int:
    """How often a stream is ended that has to end in so many seconds. It is waited for that."""
    done = asyncio.Event()
    ends = 0

    def end() -> None:
        nonlocal ends
        ends += 1
        done.set()

    expiry = Expiry(asyncio.get_running_loop(), writer, time.time() + in_s, end)
    with suppress(TimeoutError):
        async with asyncio.timeout(waits_s):
            await done.wait()
    expiry.close()
    return ends


async def test_a_stream_ends_at_its_time() -> None:
    assert await ends_of(Writer(), 0.01, PATIENCE_S) == 1


async def test_a_stream_whose_time_is_over_ends_after_it_was_attached() -> None:
    ended = asyncio.Event()
    Expiry(asyncio.get_running_loop(), Writer(), time.time() - 1, ended.set)
    assert not ended.is_set()
    await asyncio.sleep(0)
    assert ended.is_set()


async def test_a_response_that_is_no_stream_is_not_ended() -> None:
    assert await ends_of(Writer(is_stream=False), -1.0, 0.1) == 0


async def test_a_closed_watch_ends_nothing() -> None:
    ended = asyncio.Event()
    expiry = Expiry(asyncio.get_running_loop(), Writer(), time.time() - 1, ended.set)
    expiry.close()
    await asyncio.sleep(0)
    assert not ended.is_set()
