"""One attempt to serve a request: an endpoint, a connection to it, and the response."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from gateway.errors import GatewayError, UpstreamError, UpstreamReset, UpstreamTotalTimeout
from gateway.exchange import Exchange
from gateway.http.chunks import LAST_CHUNK, chunk
from gateway.proxy.request_head import Rewrite, request_head
from gateway.request import Request
from gateway.request_body.reader import BodyReader
from gateway.routing.target import Target
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.reader import FutureReader, HeadReader
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.speed import Speed

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class SendOptions:
    """Options of a route for sending requests."""

    strip: int
    """Length in characters of the path prefix that belongs to the route and is not forwarded."""
    reader: BodyReader


class Sending(Protocol):
    """The request to send, the same for every attempt."""

    request: Request
    target: Target
    body: bytes | None
    streamed: bool
    """True if the body is not in memory: it is sent while it arrives, so it can be sent only
    once.
    """
    options: SendOptions
    rewrite: Rewrite | None
    """Path and headers that replace the client's own, for a translated request."""

    def uploaded(self) -> None:
        """Note that the request body has been sent completely."""


class Attempt:
    """At most one request to one endpoint. It occupies the endpoint until `abandon` or `ended`."""

    __slots__ = (
        "_let_go",
        "_sending",
        "_upload",
        "began_at",
        "begun",
        "endpoint",
        "load",
        "number",
        "response",
        "sent_at",
        "status",
    )

    def __init__(self, sending: Sending, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.load = endpoint.in_flight
        """Requests in flight at the endpoint, including this one."""
        self.begun = False
        """True once the first byte of the response body has been reported to the upstream; stays
        False where nobody needs the time to first byte.
        """
        self.response: UpstreamResponse | None = None
        self.status = 0
        self.number = 0
        """Number of this attempt among all attempts for the request, from 1."""
        self.began_at = 0.0
        """Time at which the attempt began, if the request is traced."""
        self.sent_at = 0.0
        """Time at which the request had been sent completely, in `time.perf_counter` seconds."""
        self._sending = sending
        self._upload: asyncio.Task[None] | None = None
        self._let_go = False

    async def run(
        self, connect_s: float, first_byte_s: float, *, fresh: bool = False
    ) -> UpstreamResponse:
        """Send the request and wait for the response head. Raise GatewayError. `fresh`: use no idle
        connection.
        """
        pool = self.endpoint.pool
        connection = None if fresh else pool.take_idle()
        fresh = connection is None
        while True:
            if connection is None:
                connection = await pool.connect(connect_s)
            reader = FutureReader(asyncio.get_running_loop())
            self.send(connection, reader, first_byte_s)
            try:
                response = await reader
            except UpstreamReset:
                if fresh or not self.may_have_met_a_closing_connection:
                    raise
                connection, fresh = None, True
            except asyncio.CancelledError:
                connection.abandon(reader)
                raise
            else:
                self.take(response)
                return response

    @property
    def may_have_met_a_closing_connection(self) -> bool:
        """True if the request may be sent again after a reset of a reused connection.

        The server may have been closing it when we took it. Nothing tells whether it saw the
        request, so only idempotent requests are repeated.
        """
        sending = self._sending
        return not sending.streamed and sending.request.method in IDEMPOTENT

    def take(self, response: UpstreamResponse) -> None:
        """Note the response: its head has arrived."""
        self.response = response
        self.status = response.head.status

    def send(self, connection: UpstreamConnection, reader: HeadReader, first_byte_s: float) -> None:
        """Send the request on this connection; its response goes to `reader`."""
        sending = self._sending
        request, body, streamed = sending.request, sending.body, sending.streamed
        data = request_head(
            request,
            sending.target,
            self.endpoint,
            body,
            sending.options.strip,
            sending.rewrite,
            self.number,
        )
        self.sent_at = time.perf_counter()
        exchange = request.exchange
        connection.send(
            data,
            reader,
            first_byte_s,
            sending.target.timeouts.idle_s,
            not streamed,
            exchange.method == "HEAD",
            exchange.session is not None,
        )
        if streamed:
            # The upload may continue while the response arrives; it never outlives the exchange.
            self._upload = asyncio.create_task(self._send_body(connection, first_byte_s))

    async def _send_body(self, connection: UpstreamConnection, first_byte_s: float) -> None:
        sending = self._sending
        request, options = sending.request, sending.options
        chunked = request.content_length is None
        try:
            async for piece in options.reader.pieces(request):
                connection.send_body(chunk(piece) if chunked else piece)
                await connection.drain()
        except GatewayError as exc:
            connection.fail(exc)
        else:
            if chunked:
                connection.send_body(LAST_CHUNK)
            connection.body_sent(first_byte_s)
            sending.uploaded()
            # The time of the upload says nothing about the endpoint.
            self.sent_at = time.perf_counter()

    def let_body_go(self) -> None:
        """Release the request body: it will not be sent again."""
        self._sending.body = None

    def abandon(self) -> None:
        """Give up the attempt: cancel the upload, drop the response, release the endpoint."""
        if self._let_go:
            return
        self._let_go = True
        if self._upload is not None:
            self._upload.cancel()
        if self.response is not None:
            self.response.abort()
        self._sending.target.upstream.release(self.endpoint, begun=self.begun)

    def lost(self, error: GatewayError) -> None:
        """Count a failure of the endpoint: its response broke off, and another one replaces it."""
        if not self._let_go:
            self._sending.target.upstream.failed(self.endpoint, f"broke off: {error.code}")
            self.abandon()

    def ended(self, exchange: Exchange) -> None:
        """Release the endpoint and record its success or failure: the exchange ended, or uses
        another response.
        """
        if self._let_go:
            return
        if self._sending.target.measures:
            self._measure_tokens(exchange)
        response = self.response
        error = response.error if response is not None else None
        if error is not None and is_fault(error):
            self.lost(error)
        else:
            self.abandon()
            if self.status < 500:
                self._sending.target.upstream.succeeded(self.endpoint)

    def began(self, at: float) -> None:
        """Report the time to first byte to the upstream: the first byte of the body went to the
        client.
        """
        if self._let_go or self.begun:
            return
        self.begun = True
        sending = self._sending
        exchange = sending.request.exchange
        if sending.target.measures and exchange.streamed and self.status == 200:
            self._measure(exchange, at)
        sending.target.upstream.began(
            self.endpoint,
            at - self.sent_at,
            streamed=exchange.streamed and self.status == 200,
            load=self.load,
            size=exchange.bytes_in,
            model=sending.target.rename_to or exchange.served or exchange.model,
        )

    def _measure(self, exchange: Exchange, at: float) -> None:
        """Record the time to first byte for balancers that compare it."""
        for speed in self._speeds(exchange):
            speed.first_token.add(at - self.sent_at, time.monotonic())

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


def is_fault(error: BaseException) -> TypeGuard[UpstreamError]:
    """Tell whether the endpoint caused the error. A total timeout is no fault of the endpoint."""
    return isinstance(error, UpstreamError) and not isinstance(error, UpstreamTotalTimeout)
