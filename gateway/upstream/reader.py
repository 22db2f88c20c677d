"""The receiver of a response: called back by the connection, or awaited by a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Protocol

from gateway.errors import GatewayError
from gateway.upstream.response import UpstreamResponse


class HeadReader(Protocol):
    """The receiver of a response head. The connection calls exactly one of the methods, once,
    unless the receiver abandons the exchange before. The call comes from the event loop, never from
    within `send`.
    """

    def answered(self, response: UpstreamResponse) -> None:
        """Take the response whose head has arrived.

        `response.unread` holds the body bytes of the same read. `complete` or `error` is set if the
        response ended in it; its connection may then be idle, and be used again by this call.
        """

    def failed(self, error: GatewayError) -> None:
        """Take the error that ended the exchange before a response head arrived."""


class FutureReader:
    """A receiver for coroutines: `await` it for the response, or for the error.

    A cancelled coroutine has to pass the reader to `UpstreamConnection.abandon`. It runs one turn
    of the event loop after the cancellation; a response that arrives in between is aborted here.
    """

    __slots__ = ("_answer",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._answer: asyncio.Future[UpstreamResponse] = loop.create_future()

    def __await__(self) -> Generator[None, None, UpstreamResponse]:
        return self._answer.__await__()

    def answered(self, response: UpstreamResponse) -> None:
        if self._answer.done():
            response.abort()
        else:
            self._answer.set_result(response)

    def failed(self, error: GatewayError) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)
