"""Background tasks: one for each endpoint of an upstream, while the endpoint is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from gateway.upstream.endpoint import Endpoint
from gateway.upstream.upstream import Upstream


class EndpointTasks:
    """Tasks of one activity. They follow changes of the upstream's endpoints."""

    def __init__(
        self, upstream: Upstream, run: Callable[[Endpoint], Coroutine[None, None, None]]
    ) -> None:
        """`run` is the activity at one endpoint. It ends by being cancelled only."""
        self._upstream = upstream
        self._run = run
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Start the tasks. Needs a running event loop."""
        self._upstream.on_update.append(self._follow)
        self._follow()

    def close(self) -> None:
        """Cancel the tasks, and start no others."""
        if self._follow in self._upstream.on_update:
            self._upstream.on_update.remove(self._follow)
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _follow(self) -> None:
        there = set(self._upstream.endpoints)
        for endpoint in set(self._tasks) - there:
            self._tasks.pop(endpoint).cancel()
        for endpoint in there - set(self._tasks):
            self._tasks[endpoint] = asyncio.create_task(self._run(endpoint))
