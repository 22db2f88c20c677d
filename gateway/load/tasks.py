"""Background tasks of one object, which end with it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any


class BackgroundTasks:
    """Set of running tasks. It keeps them from the garbage collector until they are done."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in a task that `cancel` and `close` cancel."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def cancel(self) -> None:
        """Cancel all tasks that run."""
        for task in self._running:
            task.cancel()

    async def close(self) -> None:
        """Cancel all tasks that run, and wait for them. Their errors are ignored."""
        self.cancel()
        await self.wait()

    async def wait(self) -> None:
        """Wait for all tasks that run. Their errors are ignored."""
        await asyncio.gather(*self._running, return_exceptions=True)


class BackgroundLoop(ABC):
    """Base of objects with one task that runs from `start` to `close`."""

    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task. Needs a running event loop."""
        self._task = asyncio.create_task(self._run())

    def close(self) -> None:
        """Cancel the task."""
        if self._task is not None:
            self._task.cancel()

    @abstractmethod
    async def _run(self) -> None:
        """Work until cancelled."""
