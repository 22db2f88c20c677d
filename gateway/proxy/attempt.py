"""One attempt at a request: an endpoint, a connection to it, and what came back."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from gateway.chunks import LAST_CHUNK, chunk
from gateway.errors import GatewayError, UpstreamError, UpstreamReset, UpstreamTotalTimeout
from gateway.exchange import Exchange, GatewayRequest
from gateway.proxy.body import BodyReader
from gateway.proxy.request_head import Rewrite, request_head
from gateway.proxy.resolve import Target
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.response import UpstreamResponse

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What a route says about sending."""

    strip: int
    """How many characters of the path belong to the route and are not forwarded."""
    reader: BodyReader


class Sending(Protocol):
    """What is to be sent, the same for every attempt."""

    request: GatewayRequest
    target: Target
    body: bytes | None
    streamed: bool
    """Its body is not here, and goes up once only."""
    options: SendOptions
    rewrite: Rewrite | None
    """What it says instead of the client's own path and headers."""

    def uploaded(self) -> None:
        """The request's body has been sent."""


class Attempt:
    """At most one request to one endpoint, which it holds until `abandon` or `ended`."""

    __slots__ = (
        "_let_go",
        "_sending",
        "_upload",
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
        """Requests under way at the endpoint, itself included."""
        self.begun = False
        """Whether the first byte of its answer's body has come, where anybody asks how soon."""
        self.response: UpstreamResponse | None = None
        self.status = 0
        self.number = 0
        """Of the attempts at this request, from 1."""
        self.sent_at = 0.0
        """When all of it was, in `time.perf_counter` seconds."""
        self._sending = sending
        self._upload: asyncio.Task[None] | None = None
        self._let_go = False

    async def run(self, connect_s: float, first_byte_s: float) -> UpstreamResponse:
        """Send, and wait for the response's head. Raise GatewayError.

        On the path of every request: one coroutine, because each costs a microsecond.
        """
        sending, pool = self._sending, self.endpoint.pool
        connection = pool.take_idle()
        fresh = connection is None
        while True:
            if connection is None:
                connection = await pool.connect(connect_s)
            answer = self._begin(connection, first_byte_s)
            try:
                response = await answer
            except UpstreamReset:
                # It may have been closing as we took it. Whether it saw the request cannot be
                # known, so only what may safely be repeated is.
                if fresh or sending.streamed or sending.request.exchange.method not in IDEMPOTENT:
                    raise
                connection, fresh = None, True
            except asyncio.CancelledError:
                connection.forget(answer)
                raise
            else:
                self.response = response
                self.status = response.head.status
                return response

    def _begin(
        self, connection: UpstreamConnection, first_byte_s: float
    ) -> asyncio.Future[UpstreamResponse]:
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
        answer = connection.send(
            data,
            first_byte_s,
            sending.target.timeouts.idle_s,
            not streamed,
            exchange.method == "HEAD",
            exchange.handshake is not None,
        )
        if streamed:
            # It may go on beside the response; it never outlives the exchange.
            self._upload = asyncio.create_task(self._send_body(connection, first_byte_s))
        return answer

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
            self.sent_at = time.perf_counter()  # how long it took says nothing about the endpoint

    def let_body_go(self) -> None:
        """It is not sent again."""
        self._sending.body = None

    def abandon(self) -> None:
        """Give it up: nobody is interested in it any more."""
        if self._let_go:
            return
        self._let_go = True
        if self._upload is not None:
            self._upload.cancel()
        if self.response is not None:
            self.response.abort()
        self._sending.target.upstream.release(self.endpoint, begun=self.begun)

    def lost(self, error: GatewayError) -> None:
        """Its answer broke off, and another takes its place."""
        if not self._let_go:
            self._sending.target.upstream.failed(self.endpoint, f"broke off: {error.code}")
            self.abandon()

    def ended(self, _: Exchange) -> None:
        """The exchange it served has ended, or takes another answer."""
        if self._let_go:
            return
        response = self.response
        error = response.error if response is not None else None
        if error is not None and is_fault(error):
            self.lost(error)
        else:
            self.abandon()
            if self.status < 500:
                self._sending.target.upstream.succeeded(self.endpoint)

    def began(self, at: float) -> None:
        """The first byte of its body went out."""
        if self._let_go or self.begun:
            return
        self.begun = True
        sending = self._sending
        exchange = sending.request.exchange
        sending.target.upstream.began(
            self.endpoint,
            at - self.sent_at,
            streamed=exchange.streamed and self.status == 200,
            load=self.load,
            size=exchange.bytes_in,
            model=sending.target.rename_to or exchange.served or exchange.model,
        )


def is_fault(error: BaseException) -> TypeGuard[UpstreamError]:
    """Whether it is the endpoint's. How long a client waits at most says nothing about it."""
    return isinstance(error, UpstreamError) and not isinstance(error, UpstreamTotalTimeout)
