"""Hedging: a second attempt at another endpoint while the first one is late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping

from gateway.errors import GatewayError
from gateway.proxy.attempt import Attempt

SOONEST_S = 0.01
"""Shortest delay before a second attempt. uvloop's timers count milliseconds, so a p95 below 1 ms
would hedge every request.
"""


async def hedged(
    first: Attempt,
    run: Callable[[Attempt], Coroutine[None, None, None]],
    second: Callable[[], Attempt | None],
    after_s: float,
    worse: Collection[int],
) -> Attempt:
    """Run two attempts and return the first to begin its response; the second starts after
    `after_s` seconds, if there is one.

    A failed attempt is dropped while the other one runs, and so is a response with a status in
    `worse`. Raise the error of the last one.
    """
    running = {asyncio.create_task(run(first)): first}
    try:
        done, _ = await asyncio.wait(running, timeout=after_s)
        if not done and (other := second()) is not None:
            running[asyncio.create_task(run(other))] = other
        while True:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                attempt = running[task]
                failed = isinstance(task.exception(), GatewayError)
                if len(running) == 1 or not (failed or attempt.status in worse):
                    task.result()
                    await _let_go({one: running.pop(one) for one in [*running] if one != task})
                    return attempt
                del running[task]
                if not failed:
                    attempt.abandon()
    except BaseException:
        await _let_go(running)
        raise


async def _let_go(running: Mapping[asyncio.Task[None], Attempt]) -> None:
    """Cancel attempts, with or without a response."""
    for task, attempt in running.items():
        if not task.cancel() and task.exception() is None:
            attempt.abandon()
    await asyncio.gather(*running, return_exceptions=True)
