"""Shadow traffic: copies of requests to another model, whose answers are read and dropped.

A copy has an exchange of its own. It passes no policy of the caller's route, so it costs the caller
nothing and nobody waits for it. It ends when its answer has ended, when it has taken too long, or
when the gateway drains.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from gateway.dialects import Dialect
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.load.tasks import BackgroundTasks
from gateway.proxy.asking_usage import asking_body
from gateway.proxy.attempt import SendOptions
from gateway.proxy.attempts import Attempts
from gateway.proxy.response_body import ResponseBody
from gateway.proxy.translated import send_translated
from gateway.request import Request
from gateway.routing.target import Target
from gateway.upstream.response import UpstreamResponse


class Shadows:
    """Copies in progress of one process."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        """Copies in progress, by the model that they are sent to."""
        self.draining = False
        """True once no copy may begin."""
        self._tasks = BackgroundTasks()

    def has_room(self, model: str, most: int) -> bool:
        """Tell whether another copy to this model may begin, of `most` at once."""
        return not self.draining and self.running[model] < most

    def start(self, model: str, work: Coroutine[Any, Any, None]) -> None:
        """Run a copy to this model, in a task of its own."""
        self.running[model] += 1

        def ended(task: asyncio.Task[None]) -> None:
            self.running[model] -= 1
            if not task.cancelled() and (error := task.exception()) is not None:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"in a copy of a request to {model}", "exception": error}
                )

        self._tasks.spawn(work).add_done_callback(ended)

    def drain(self) -> None:
        """Cancel all copies, and begin no other."""
        self.draining = True
        self._tasks.cancel()

    async def close(self) -> None:
        """Cancel all copies, and wait until they have ended."""
        self.drain()
        await self._tasks.wait()


async def send_shadow(
    request: Request, target: Target, dialect: Dialect, sending: SendOptions
) -> None:
    """Send a copy, and read its answer to the end. The caller ends its exchange. Raise
    GatewayError; RequestError if it cannot be sent to this model.
    """
    exchange = request.exchange
    body = exchange.body
    assert body is not None
    exchange.upstream = target.upstream.name
    if target.translation is not None:
        response = await send_translated(request, target, target.translation, body, sending)
    else:
        body, _ = asking_body(exchange, target, body)
        response = await Attempts(request, target, body, sending).send()
    exchange.answered(response.head.status)
    await _read(response, exchange, dialect)


async def _read(response: UpstreamResponse, exchange: Exchange, dialect: Dialect) -> None:
    """Read a body to its end. Raise the error that broke it off."""
    dropped = _DroppedBody(response, exchange, dialect)
    response.read_into(dropped)
    await dropped.ended


class _DroppedBody:
    """Sink that drops a body, and notes its tokens and times in the exchange."""

    def __init__(self, response: UpstreamResponse, exchange: Exchange, dialect: Dialect) -> None:
        self._body = ResponseBody(response, exchange, dialect)
        self._look = self._body.look
        self._exchange = exchange
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def feed(self, data: bytes) -> None:
        exchange = self._exchange
        if self._look is not None:
            self._look(data)
        if not exchange.bytes_out:
            exchange.begun()
        exchange.bytes_out += len(data)

    def finish(self, error: GatewayError | None) -> None:
        self._body.rest()
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
