"""When a client that takes nothing is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from gateway.server.send_timeout import SendTimeout

TIMEOUT_S = 0.2


class Transport:
    """Holds what the client does not take, until it is cut."""

    def __init__(self) -> None:
        self.buffered = 100
        self.cut_at: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def abort(self) -> None:
        self.cut_at.set_result(asyncio.get_running_loop().time())


async def test_a_client_that_takes_nothing_is_cut_at_the_timeout_and_not_before() -> None:
    loop, transport = asyncio.get_running_loop(), Transport()
    began = loop.time()
    SendTimeout(loop, cast(asyncio.Transport, transport)).begin(TIMEOUT_S)
    async with asyncio.timeout(10 * TIMEOUT_S):
        # The loop's clock counts milliseconds.
        assert await transport.cut_at - began >= TIMEOUT_S - 0.002


async def test_a_client_that_takes_a_byte_has_the_timeout_again() -> None:
    loop, transport = asyncio.get_running_loop(), Transport()
    SendTimeout(loop, cast(asyncio.Transport, transport)).begin(TIMEOUT_S)
    await asyncio.sleep(0.7 * TIMEOUT_S)
    transport.buffered -= 1
    took = loop.time()
    async with asyncio.timeout(10 * TIMEOUT_S):
        assert await transport.cut_at - took >= TIMEOUT_S - 0.002


class Timers:
    """Loop whose timers are called by hand."""

    def __init__(self) -> None:
        self.set: list[Callable[[], None]] = []

    def call_later(self, delay: float, call: Callable[..., None], *arguments: object) -> object:
        self.set.append(partial(call, *arguments))
        return object()


async def test_one_timer_watches_a_client_that_falls_behind_during_a_check() -> None:
    class Behind(Transport):
        """Sends what waits when it is asked for the size, and pauses its protocol then."""

        checked = False

        def get_write_buffer_size(self) -> int:
            if self.checked:
                watch.begin(TIMEOUT_S)
            return self.buffered

    transport, timers = Behind(), Timers()
    watch = SendTimeout(cast(asyncio.AbstractEventLoop, timers), cast(asyncio.Transport, transport))
    watch.begin(TIMEOUT_S)
    transport.checked = True
    (first,) = timers.set
    timers.set.clear()
    first()
    assert len(timers.set) == 1
