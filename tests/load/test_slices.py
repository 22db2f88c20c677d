"""Slices of long work in the event loop."""

from __future__ import annotations

import asyncio
import time

from gateway.load.slices import WorkSlices


async def test_others_have_their_turn_after_each_slice() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task, slices, pauses = asyncio.create_task(others()), WorkSlices(), 0
    began = time.perf_counter()
    while pauses < 20:
        if slices.over:
            await slices.pause()
            pauses += 1
    task.cancel()
    assert turns >= 20
    assert time.perf_counter() - began >= 20 * 0.0005


async def test_a_slice_is_not_over_at_once() -> None:
    assert any(not WorkSlices().over for _ in range(1000))
