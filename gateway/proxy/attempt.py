"""One attempt to serve a request: an endpoint, a connection to it, and the response.

The first attempt is in `gateway/proxy/first_attempt.py`, all others in `gateway/proxy/attempts.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from gateway.errors import (
    GatewayError,
    UpstreamError,
    UpstreamReset,
    UpstreamTotalTimeout,
)
from gateway.exchange import Exchange
from gateway.pending import Pending
from gateway.proxy.health_report import report_answer, report_failure
from gateway.proxy.request_head import LARGE_BYTES, Rewrite, request_head
from gateway.proxy.upload import Upload
from gateway.request import Request
from gateway.request_body.reader import BodyReader
from gateway.routing.target import Target
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.reader import FutureReader, HeadReader
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.speed import Speed

if TYPE_CHECKING:
    from gateway.telemetry.traces.recording import Trace

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class SendOptions:
    """Options of a route for sending requests."""

    strip: int
    """Length in characters of the path prefix that belongs to the route and is not forwarded."""
    reader: BodyReader


class Attempt(Pending):
    """At most one request to one endpoint, which counts from when it is made. It occupies the
    endpoint until `abandon` or `ended`.
    """

    __slots__ = (
        "_let_go",
        "began_at",
        "begun",
        "body",
        "endpoint",
        "fresh",
        "load",
        "number",
        "options",
        "response",
        "rewrite",
        "sent_at",
        "target",
        "tried",
        "turn",
        "upload",
    )

    sent_at: float
    """Time at which the request had been sent completely, in `time.perf_counter` seconds."""

    def __init__(
        self,
        request: Request,
        target: Target,
        endpoint: Endpoint,
        body: bytes | None,
        options: SendOptions,
        tried: Sequence[Endpoint] = (),
        rewrite: Rewrite | None = None,
        upload: Upload | None = None,
        turn: asyncio.Future[None] | None = None,
    ) -> None:
        """`tried` are the endpoints that need not be asked next. `upload` sends a body that is not
        in memory. `turn` is that of a request that tries whether its backend has started.
        """
        self.request = request
        self.target = target
        self.endpoint = endpoint
        self.body = body
        self.options = options
        self.tried = tried
        self.rewrite = rewrite
        self.upload = upload
        self.turn = turn
        self.load = endpoint.in_flight
        """Requests in flight at the endpoint, including this one."""
        self.begun = False
        """True once the first byte of the response body has been reported to the upstream; stays
        False where nobody needs the time to first byte.
        """
        self.response: UpstreamResponse | None = None
        exchange = request.exchange
        exchange.attempts = self.number = exchange.attempts + 1
        """Number of this attempt among all attempts for the request, from 1."""
        exchange.endpoint = endpoint.key
        self.began_at = 0.0 if exchange.trace is None else time.perf_counter()
        """Time at which the attempt began, if the request is traced."""
        self.fresh = False
        """True if the request was sent on a new connection."""
        self._let_go = False

    @property
    def status(self) -> int:
        """Status of the response; 0 without one."""
        return 0 if self.response is None else self.response.head.status

    def _another_may_follow(self, left: int | None) -> bool:
        """Tell whether another endpoint may be asked after this one. `left` is the number of
        retries that are left; None if all are.
        """
        latest = self.target.upstream.latest
        return (
            self.is_repeatable
            and (left if left is not None else self.target.upstream.options.retries.attempts) > 0
            and latest.budget.balance >= 1.0
            and latest.has_other([*self.tried, self.endpoint])
        )

    async def run(self, left: int, *, fresh: bool = False) -> UpstreamResponse:
        """Send the request and wait for the response head. Raise GatewayError. `left` is the number
        of retries that are left. `fresh`: use no idle connection.
        """
        pool = self.endpoint.pool
        connection = None if fresh else pool.take_idle()
        while True:
            if connection is None:
                self.fresh = True
                connection = await pool.connect(self.target.timeouts.connect_s)
            reader = FutureReader(asyncio.get_running_loop())
            self.send(connection, reader, left)
            try:
                response = await reader
            except UpstreamReset:
                if not self.may_have_met_a_closing_connection:
                    raise
                connection = None
            except asyncio.CancelledError:
                connection.abandon(reader)
                raise
            else:
                self.response = response
                return response

    @property
    def is_repeatable(self) -> bool:
        """True if the request may be sent again after it has been sent once."""
        return self.upload is None and (
            self.target.upstream.options.retries.post or self.request.exchange.method in IDEMPOTENT
        )

    @property
    def may_have_met_a_closing_connection(self) -> bool:
        """True if the request may be sent again after a reset of an idle connection.

        The server may have been closing it when we took it. Nothing tells whether it saw the
        request, so only idempotent requests are repeated.
        """
        return not self.fresh and self.upload is None and self.request.method in IDEMPOTENT

    def send(
        self, connection: UpstreamConnection, reader: HeadReader, left: int | None = None
    ) -> None:
        """Send the request on this connection; its response goes to `reader`. `left` is the number
        of retries that are left, None if all are: if another endpoint may be asked, this one has
        less time.

        If the request cannot be sent, close the connection, release the endpoint, and raise.
        """
        request, target, body, upload = self.request, self.target, self.body, self.upload
        exchange, timeouts = request.exchange, target.timeouts
        first_byte_s = timeouts.first_byte_s
        try:
            per_try_s = target.upstream.options.retries.per_try_s
            if per_try_s is not None and self._another_may_follow(left):
                first_byte_s = min(first_byte_s, per_try_s)
            data = request_head(
                request,
                target,
                self.endpoint,
                body,
                self.options.strip,
                self.rewrite,
                self.number,
            )
            self.sent_at = time.perf_counter()
            connection.send(
                data,
                reader,
                first_byte_s,
                timeouts.idle_s,
                upload is None,
                exchange.method == "HEAD",
                exchange.session is not None,
            )
            if body is not None:
                if len(body) > LARGE_BYTES:
                    connection.send_body(body)
            elif upload is not None:
                upload.begin(connection, first_byte_s, self)
        except BaseException:
            connection.close()
            self.abandon()
            raise

    # -- what is learnt of it --------------------------------------------------------------

    def report(self, response: UpstreamResponse) -> None:
        """Tell health tracking and the trace of the response head."""
        trace = self.request.exchange.trace
        if trace is not None:
            self.tell(trace, "")
        report_answer(self, response.head)

    def report_failure(self, error: BaseException) -> None:
        """Tell health tracking and the trace that there is no response, and release the
        endpoint.
        """
        trace = self.request.exchange.trace
        if trace is not None:
            self.tell(trace, error.code if isinstance(error, GatewayError) else "cancelled")
        self.abandon()
        report_failure(self, error, fault=is_fault(error))

    def tell(self, trace: Trace, outcome: str) -> None:
        """Record in the trace an attempt that has a response head or failed. `outcome` is the error
        code.
        """
        target, exchange, endpoint = self.target, self.request.exchange, self.endpoint
        model = target.rename_to or exchange.served or exchange.model
        now, name = time.perf_counter(), target.upstream.name
        trace.attempts += (
            (self.number, self.began_at, now, endpoint.url, name, model, self.status, outcome),
        )

    def began(self, at: float) -> None:
        """Report the time to first byte to the upstream: the first byte of the body went to the
        client.
        """
        if self._let_go or self.begun:
            return
        self.begun = True
        exchange, target = self.request.exchange, self.target
        streamed = exchange.streamed and self.status == 200
        if target.measures and streamed:
            for speed in self._speeds(exchange):
                speed.first_token.add(at - self.sent_at, time.monotonic())
        target.upstream.began(
            self.endpoint,
            at - self.sent_at,
            streamed=streamed,
            load=self.load,
            size=exchange.bytes_in,
            model=target.rename_to or exchange.served or exchange.model,
        )

    # -- the chosen response, and the end --------------------------------------------------

    def choose(self, response: UpstreamResponse) -> None:
        """Make this response the answer of the exchange, which releases the endpoint at its end."""
        exchange, target = self.request.exchange, self.target
        exchange.endpoint = self.endpoint.key
        before = exchange.attempt
        if before is not None:
            before.ended(exchange)
        exchange.attempt = self
        if (target.measures or not target.upstream.is_plain) and response.head.status < 400:
            exchange.on_first_byte = self.began

    def let_body_go(self) -> None:
        """Release the request body: it will not be sent again."""
        self.body = None

    def abandon(self) -> None:
        """Give up the attempt: cancel the upload, drop the response, release the endpoint."""
        if not self._let_go:
            self._release(succeeded=False)

    def lost(self, error: GatewayError) -> None:
        """Count a failure of the endpoint: its response broke off, and another one replaces it."""
        if not self._let_go:
            self.target.upstream.failed(self.endpoint, f"broke off: {error.code}")
            self._release(succeeded=False)

    def ended(self, exchange: Exchange) -> None:
        """Release the endpoint and record its success or failure: the exchange ended, or uses
        another response.
        """
        if self._let_go:
            return
        if self.target.measures:
            self._measure_tokens(exchange)
        response = self.response
        error = None if response is None else response.error
        if error is not None and is_fault(error):
            self.lost(error)
        else:
            self._release(response is None or response.head.status < 500)

    def _release(self, succeeded: bool) -> None:
        self._let_go = True
        if self.upload is not None:
            self.upload.cancel()
        response = self.response
        if response is not None and not response.complete:
            response.abort()
        self.target.upstream.release(self.endpoint, self.begun, succeeded)

    def _measure_tokens(self, exchange: Exchange) -> None:
        """Record the time for each token after the first."""
        usage, first_at = exchange.usage, exchange.first_token_at
        if usage is None or first_at is None or exchange.end_reason is None or usage.output < 2:
            return
        each_s = (exchange.ended_at - first_at) / (usage.output - 1)
        for speed in self._speeds(exchange):
            speed.next_token.add(each_s, time.monotonic())

    def _speeds(self, exchange: Exchange) -> list[Speed]:
        assignment = exchange.assignment
        own = self.endpoint.speed
        return [own] if assignment is None else [own, assignment.deployment.speed]


def without_model(target: Target, exchange: Exchange) -> tuple[Endpoint, ...]:
    """Return the endpoints that do not have the model, so that they are not asked."""
    name = target.rename_to or exchange.served or exchange.model
    return target.upstream.latest.lacking.get(name or "", ())


def is_fault(error: BaseException) -> TypeGuard[UpstreamError]:
    """Tell whether the endpoint caused the error. A total timeout is no fault of the endpoint."""
    return isinstance(error, UpstreamError) and not isinstance(error, UpstreamTotalTimeout)
