"""Answer that arrives later, by a call.

A future would wake its task one turn of the event loop later; a call happens at once, and needs no
task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

from aiohttp import web

from gateway.request import Request

Answer = web.StreamResponse | Exception
"""Response to a request, or the error to report instead."""


class Pending:
    """Response that something else will deliver: the upstream connection, for example."""

    __slots__ = ("request", "then")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.then: Callable[[Request, Answer], None]
        """Called once with the answer. Whoever receives this object sets it."""

    def cancel(self) -> None:
        """Give up: nobody waits for the answer. `then` is not called."""
        raise NotImplementedError

    def __await__(self) -> Generator[Any, None, web.StreamResponse]:
        """Wait for the answer in a task. Raise the error instead of returning it."""
        future: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()

        def deliver(_: Request, answer: Answer) -> None:
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self.then = deliver
        try:
            return (yield from future)
        except asyncio.CancelledError:
            self.cancel()
            raise
