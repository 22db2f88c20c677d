"""When a client that takes nothing is cut."""

from __future__ import annotations

import asyncio
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


async def test_one_timer_watches_a_client_that_falls_behind_during_a_check() -> None:
    loop = asyncio.get_running_loop()
    checked_again = asyncio.Event()

    class Behind(Transport):
        """Sends what waits when it is asked for the size, and pauses its protocol then."""

        asked = 0

        def get_write_buffer_size(self) -> int:
            self.asked += 1
            if self.asked == 2:
                watch.begin(TIMEOUT_S)
            if self.asked == 3:
                checked_again.set()
            return self.buffered

    transport = Behind()
    watch = SendTimeout(loop, cast(asyncio.Transport, transport))
    watch.begin(TIMEOUT_S)
    async with asyncio.timeout(100 * TIMEOUT_S):
        await checked_again.wait()
    watch.close()
    asked = transport.asked
    await asyncio.sleep(TIMEOUT_S / 2)
    assert transport.asked == asked
