"""Background tasks of one object."""

from __future__ import annotations

import asyncio

from gateway.load.tasks import BackgroundLoop, BackgroundTasks


async def test_close_cancels_all_tasks_and_waits_for_them() -> None:
    tasks, ended = BackgroundTasks(), []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    tasks.spawn(work("a"))
    tasks.spawn(work("b"))
    await asyncio.sleep(0)
    await tasks.close()
    assert sorted(ended) == ["a", "b"]


async def test_a_task_that_failed_does_not_fail_close() -> None:
    tasks = BackgroundTasks()

    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError

    tasks.spawn(fail())
    await asyncio.sleep(0)
    await tasks.close()


async def test_a_task_can_be_cancelled_alone() -> None:
    tasks = BackgroundTasks()
    task = tasks.spawn(asyncio.sleep(60))
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await tasks.close()


class Loop(BackgroundLoop):
    def __init__(self) -> None:
        self.states: list[str] = []

    async def _run(self) -> None:
        self.states.append("runs")
        try:
            await asyncio.Event().wait()
        finally:
            self.states.append("ended")


async def test_a_loop_runs_from_start_to_close() -> None:
    loop = Loop()
    loop.close()  # before `start`, there is nothing to end
    loop.start()
    await asyncio.sleep(0)
    assert loop.states == ["runs"]
    loop.close()
    await asyncio.sleep(0)
    assert loop.states == ["runs", "ended"]
