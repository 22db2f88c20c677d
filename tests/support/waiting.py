"""Waiting for what sends no event: a number in another object, the kernel, another process.

Where there is an event (a log line, a request that arrives, a connection that ends), wait for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_POLL_S = 0.001


async def eventually(holds: Callable[[], object], *, patience_s: float = 10.0) -> None:
    """Wait until the result of `holds` is true. Raise TimeoutError."""
    async with asyncio.timeout(patience_s):
        while not holds():  # noqa: ASYNC110 -- nothing sets an event
            await asyncio.sleep(_POLL_S)


async def settled(count: Callable[[], int], *, quiet_s: float = 0.1) -> int:
    """Wait until a count is not 0 and stays the same for `quiet_s` seconds. Return it."""
    before = 0
    while (now := count()) != before or not now:
        before = now
        await asyncio.sleep(quiet_s)
    return now
