"""The first attempt at a request, which needs no task.

It sends the request on an idle connection, or has one opened, and the connection calls `answered`.
Everything else that has to wait (a pause, a retry, hedging, a deadline) is in
`gateway/proxy/attempts.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType

from aiohttp import web

from gateway.errors import UpstreamBusy
from gateway.pending import Answer
from gateway.pipeline import Result
from gateway.proxy.attempt import IDEMPOTENT, Attempt, SendOptions, without_model
from gateway.proxy.upload import Upload
from gateway.request import Request
from gateway.routing.target import NO_HINT, Target, no_hint
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.opening import ConnectionOpening
from gateway.upstream.response import UpstreamResponse

Finish = Callable[[Request, UpstreamResponse], Result]
"""Function that makes the response for the client from the one that was chosen."""


class FirstAttempt(Attempt):
    """Attempt that delivers what is made of its response, or has the request sent again."""

    __slots__ = ("again", "finish", "waits_for")

    finish: Finish
    """Function that makes what is delivered of the response."""
    again: Again
    """Function that sends the request again."""
    waits_for: ConnectionOpening | UpstreamConnection | None
    """Connection that is opened, or on which the request was sent, until the response head arrives.
    """

    def open(self) -> None:
        """Open a connection. If that is not possible now, have the request sent again."""
        try:
            self.waits_for = self.endpoint.pool.open_for(self, self.target.timeouts.connect_s)
        except UpstreamBusy as exc:
            sending = self.again(self, exc)
            assert sending is not None
            self.request.client.work(sending)

    def opened(self, connection: UpstreamConnection) -> None:
        """Send the request on the connection that was opened for it."""
        self.waits_for = connection
        self.fresh = True
        try:
            self.send(connection, self)
        except Exception as exc:
            self.waits_for = None
            self.then(self.request, exc)

    def not_opened(self, error: Exception) -> None:
        """Deliver the error, or have the request sent again."""
        self.failed(error)

    def answered(self, response: UpstreamResponse) -> None:
        """Deliver the response, or have the request sent again."""
        request = self.request
        self.waits_for = None
        self.response = response
        head = response.head
        upstream = self.target.upstream
        try:
            if (
                head.status >= 400
                or head.tells_quota
                or not upstream.is_plain
                or upstream.waking is not None
                or request.exchange.trace is not None
            ):  # otherwise there is nothing to learn from it
                self.report(response)
            if head.status >= 400 and (sending := self.again(self, None)) is not None:
                request.client.work(sending)
                return
            self.choose(response)
            # A function in a slot is not called as a method is: that would take a slow path.
            finish = self.finish
            answer = finish(request, response)
        except Exception as exc:
            self.then(request, exc)
            return
        # An instance check of aiohttp's abstract response class takes longer.
        if type(answer) is CoroutineType:
            request.client.work(self.deliver(answer))
        else:
            then = self.then
            then(request, answer)  # type: ignore[arg-type]

    def failed(self, error: Exception) -> None:
        """Deliver the error, or have the request sent again."""
        request = self.request
        self.waits_for = None
        try:
            sending = self.again(self, error)
            assert sending is not None
        except Exception as exc:
            self.then(request, exc)
        else:
            request.client.work(sending)

    def cancel(self) -> None:
        """Give up: nobody waits for the answer."""
        waits_for, self.waits_for = self.waits_for, None
        if waits_for is None:
            return
        if isinstance(waits_for, ConnectionOpening):
            waits_for.cancel()
        else:
            waits_for.abandon(self)
        self.report_failure(asyncio.CancelledError())

    async def deliver(self, waiting: Awaitable[web.StreamResponse]) -> None:
        """Deliver a response that has to be waited for."""
        answer: Answer
        try:
            answer = await waiting
        except Exception as exc:
            answer = exc
        self.then(self.request, answer)


Again = Callable[[FirstAttempt, Exception | None], Coroutine[None, None, None] | None]
"""Function that returns what sends a request again, because of the error of its first attempt or of
its response. It raises the error, or returns None for a response, if the request is not sent again.
"""


def first_attempt(
    request: Request,
    target: Target,
    body: bytes | None,
    options: SendOptions,
    finish: Finish,
    again: Again,
) -> FirstAttempt | None:
    """Begin the first attempt at a request, at an endpoint that has room now, and return it. It
    delivers what `finish` makes of the response; `again` sends the request again. Return None if
    something besides the response has to be waited for.
    """
    upstream, exchange = target.upstream, request.exchange
    retries, waking = upstream.options.retries, upstream.waking
    if (
        exchange.deadline is not None
        # A response whose body has not begun may be dropped for another one.
        or retries.post
        or (retries.hedge and exchange.method in IDEMPOTENT)
        or (waking is not None and waking.is_waking)
    ):
        return None
    lacking = without_model(target, exchange) if upstream.lacking else ()
    hint = NO_HINT if target.hint is no_hint else target.hint(exchange, request.headers, body)
    endpoint = upstream.acquire_now(hint, lacking)
    if endpoint is None:
        return None
    upstream.budget.requests += 1
    upload = None
    if body is None and request.body_exists:
        upload = Upload(request, options.reader, upstream)
    attempt = FirstAttempt(request, target, endpoint, body, options, lacking, None, upload)
    attempt.finish, attempt.again = finish, again
    attempt.waits_for = connection = endpoint.pool.take_idle()
    if connection is None:
        attempt.open()
    else:
        attempt.send(connection, attempt)
    return attempt
