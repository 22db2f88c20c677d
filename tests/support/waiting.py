"""Waiting for what sends no event: a number in another object, the kernel, another process.

Where there is an event (a log line, a request that arrives, a connection that ends), wait for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

PATIENCE_S = 40.0
"""Time that a test waits for what is to happen. The machine may be busy with other tests."""
SLACK_S = 8.0
"""Time that a busy machine may add to a time limit under test. A limit that is not kept at all
takes longer: a client waits for `PATIENCE_S`.
"""
_POLL_S = 0.001

T = TypeVar("T")


async def eventually(holds: Callable[[], object], *, patience_s: float = PATIENCE_S) -> None:
    """Wait until the result of `holds` is true. Raise TimeoutError."""
    async with asyncio.timeout(patience_s):
        while not holds():  # noqa: ASYNC110 -- nothing sets an event
            await asyncio.sleep(_POLL_S)


async def asked_until(
    ask: Callable[[], Awaitable[T]],
    wanted: Callable[[T], object],
    *,
    patience_s: float = PATIENCE_S,
    pause_s: float = 0.01,
    unless: tuple[type[Exception], ...] = (),
) -> T:
    """Ask until the answer is wanted. Return it. An error of `unless` is no answer yet. Raise
    TimeoutError.
    """
    async with asyncio.timeout(patience_s):
        while True:
            with suppress(*unless):
                answer = await ask()
                if wanted(answer):
                    return answer
            await asyncio.sleep(pause_s)


async def settled(count: Callable[[], int], *, quiet_s: float = 0.1) -> int:
    """Wait until a count is not 0 and stays the same for `quiet_s` seconds. Return it."""
    before = 0
    while (now := count()) != before or not now:
        before = now
        await asyncio.sleep(quiet_s)
    return now
