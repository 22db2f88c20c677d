"""Answering of the request in flight on a client connection, without a task where none is needed.

The pipeline answers by `send`, at once or later. It runs a coroutine by `work` if it must wait for
something. All work for the request stops when the client leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from aiohttp import EMPTY_PAYLOAD, StreamReader, web

from gateway.client_connection import BodyWriter, Cancellable, MakeWriter
from gateway.client_response import ClientResponse
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.load.backlog import Backlog
from gateway.middleware.plugin import plugin_request
from gateway.middleware.request_id import new_request_id
from gateway.outcome import Commit, EndReason
from gateway.proxy.client_stream import ClientStream
from gateway.proxy.relay import RelayedResponse
from gateway.proxy.response_body import end_reason
from gateway.request import Request
from gateway.response_head import fields_of_exchange
from gateway.response_writer import SentHead
from gateway.server.closing import ClosingConnection, ClosingRules
from gateway.server.expiry import Expiry
from gateway.server.turns import Turns
from gateway.server.whole import whole_response

_COMPLETE, _ANSWERED = EndReason.COMPLETE, Commit.ANSWERED
_LAST_REQUEST_S = 0.5
"""Seconds until an idle connection is closed when the gateway drains."""


class AnsweringRules(ClosingRules, Protocol):
    """Listener, as far as answering uses it."""

    draining: bool
    cutting: bool
    keepalive_s: float
    turns: Turns
    streams: int
    """Number of response bodies being sent."""

    def kept(self, exchange: Exchange) -> None:
        """Track an exchange that continues without its client."""


class AnsweringConnection(ClosingConnection):
    """Protocol that answers the request in flight."""

    __slots__ = (
        "_ending",
        "_expiry",
        "_request",
        "_response",
        "_served_body",
        "_takes_turn",
        "_tasks",
        "pending",
    )

    _listener: AnsweringRules
    make_writer: MakeWriter = ClientStream

    def __init__(self, listener: AnsweringRules) -> None:
        super().__init__(listener)
        self._request: Request | None = None
        """Request in flight, if any."""
        self._served_body: StreamReader = EMPTY_PAYLOAD
        """Body of the request in flight, if it was incomplete when the request began; bodies of
        later requests may follow already.
        """
        self._response: web.StreamResponse | None = None
        """Response that is being sent."""
        self.pending: Cancellable | None = None
        self._tasks: dict[asyncio.Task[None], Request] | None = None
        """Tasks, each with its request; None before the first one."""
        self._takes_turn = False
        """True while the next request waits for its turn."""
        self._ending: GatewayError | None = None
        """Error that ends the connection, if the gateway ends it."""
        self._expiry: Expiry | None = None

    def _turn(self) -> None:
        """Begin the next request; refuse what cannot be parsed; or close after the last request."""
        raise NotImplementedError

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.drop()

    # -- interface for relays ------------------------------------------------------------

    def may_keep_alive(self) -> bool:
        """Tell whether another request may follow. False while this one's body is incomplete."""
        exchange = self.exchange
        body = self._served_body
        return not (self._last or (exchange is not None and exchange.must_close)) and (
            body is EMPTY_PAYLOAD or body.is_eof()
        )

    @property
    def backlog(self) -> Backlog:
        """Queue for work to do in later turns of the event loop."""
        return self._listener.backlog

    def attach(self, writer: BodyWriter) -> None:
        """Tell `writer` when to pause and resume, until `detach`."""
        if self.writer is None:
            self._listener.streams += 1
        self.writer = writer
        exchange = self.exchange
        if exchange is not None and exchange.expires_at is not None:
            self._stop_expiry()
            self._expiry = Expiry(self.loop, writer, exchange.expires_at, self._expire)
        if self.writing_paused:
            writer.pause()

    def detach(self) -> None:
        """Stop telling the writer: the body has ended."""
        if self.writer is not None:
            self._listener.streams -= 1
            self.writer = None
            if self._expiry is not None:
                self._stop_expiry()

    def _expire(self) -> None:
        """End the response, whose time is over."""
        assert self.exchange is not None
        self.end(self.exchange.expires_with())

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.close()
            self._expiry = None

    # -- interface for pipelines ---------------------------------------------------------

    def work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine for the request in flight. It is cancelled if the client leaves."""
        request = self._request
        if request is None:
            coroutine.close()
            return
        if self._tasks is None:
            self._tasks = {}
        task = self.loop.create_task(coroutine)
        self._tasks[task] = request
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        assert self._tasks is not None
        request = self._tasks.pop(task)
        if task.cancelled():
            self._cut(request)
        elif (error := task.exception()) is not None:
            if isinstance(error, ConnectionError):
                self._cut(request)
            else:
                self._fail(request, error)

    def send(self, response: web.StreamResponse) -> None:
        """Send the response to the request in flight."""
        request = self._request
        if request is None:
            return  # it was cut off
        exchange = request.exchange
        if exchange.commit is _ANSWERED and not response.prepared:
            # The client would take a second response for the answer to its next request.
            self._fail(request, RuntimeError("a plug-in has sent another response already"))
            return
        self.pending = None
        self._response = response
        try:
            # An instance check of aiohttp's abstract class takes longer than a look at the type.
            if type(response) is RelayedResponse and not response.prepared:
                response.start(request)
            elif isinstance(response, ClientResponse):
                if not response.prepared:
                    if not response.completes_head:
                        self._complete_head(response, exchange)
                    response.start(request)
                elif response.over:  # a plug-in has sent it
                    self.sent(response)
            elif response.prepared:
                self.work(self._send_as_aiohttp_does(request, response))
            else:
                self._complete_head(response, exchange)
                if self._send_whole(response, exchange):
                    self.sent(response)
                else:
                    self.work(self._send_as_aiohttp_does(request, response))
        except ConnectionError:
            self._cut(request)
        except Exception as exc:
            self._fail(request, exc)
        else:
            if exchange.session is not None and self._listener.draining:
                exchange.session.drain()  # the drain began before the session existed

    def _send_whole(self, response: web.StreamResponse, exchange: Exchange) -> bool:
        """Send a response whose body is there. Return False if only aiohttp can send it."""
        data = whole_response(response, exchange.method)
        if data is None:
            return False
        exchange.bytes_out = len(data[1])
        self._write(data[0] + data[1])
        return True

    async def _send_as_aiohttp_does(self, request: Request, response: web.StreamResponse) -> None:
        """Send a response of a plug-in that is more than bytes."""
        await response.prepare(plugin_request(request))
        await response.write_eof()
        if not request.exchange.bytes_out:
            request.exchange.bytes_out = response.body_length
        self.sent(response)

    def write_whole(self, head: SentHead, body: bytes) -> None:
        """Send a response whose body is there, in one write."""
        transport = self.transport
        assert transport is not None
        transport.write(head.http_bytes(chunked=False) + body)

    def sent(self, response: web.StreamResponse) -> None:
        """Note that the response to the request in flight is complete."""
        request = self._request
        if request is None or response is not self._response:
            return
        exchange, draining = request.exchange, self._listener.draining
        keep = response.keep_alive is not False  # None where aiohttp has not decided it
        if keep and draining and not (self._once or self._read_to_the_end):
            # The response was sent without `Connection: close` before the drain began, so the
            # client may send another request.
            self._once, self._last = True, bool(self._queue)
            keep = not exchange.must_close and request.content.is_eof()
        elif keep:
            body = self._served_body
            keep = not (self._last or exchange.must_close) and (
                body is EMPTY_PAYLOAD or body.is_eof()
            )
        self._leave(request, _COMPLETE)
        if not keep:
            self._finish()
            return
        if self._once:
            self._expect_the_last()
        else:
            listener = self._listener
            patience_s = listener.keepalive_s
            if self._head_bytes:
                patience_s = listener.options.header_timeout
            deadline = self._deadline
            deadline.at = at = self.loop.time() + patience_s
            if at < deadline.timer_at:
                deadline.move(at)
        # Begin a request that has already arrived, after other connections had their turn.
        if self._queue:
            if not self._takes_turn:
                self._takes_turn = True
                self.backlog.add(self._turn)
        elif self._refusal is not None or self._last:
            self._turn()

    def _expect_the_last(self) -> None:
        """Serve at most one more request, then close. The client does not know yet that the
        connection will close, and its next request may be on the way: closing at once would lose
        it. The response says `Connection: close`.
        """
        self._once = True
        if not self._head_bytes:
            self._deadline.move(self.loop.time() + _LAST_REQUEST_S)

    # -- ending without a whole response ---------------------------------------------------

    def end(self, error: GatewayError) -> None:
        """End the exchange in flight with an error that the client can read, then close. Requests
        that have not begun are refused with the same error.
        """
        exchange = self.exchange
        self._last = True
        if self._ending is not None:
            return
        self._ending = error
        if exchange is None:
            return
        if self.writer is not None:
            self.writer.fail(error)
        else:
            if exchange.early is not None:
                exchange.early.close()  # it might still open a stream that nothing ends
            self.drop()

    def drop(self) -> None:
        """End the request in flight, whose stream has just received an error."""
        if not self._cancel_tasks() and self._request is not None:
            self._cut(self._request)

    def _cancel_tasks(self) -> bool:
        """Cancel the tasks of the request in flight. Return False if there are none."""
        if not self._tasks:
            return False
        running = [task for task in self._tasks if not task.done()]
        for task in running:
            task.cancel()
        return bool(running)

    def _answer_ending(self, exchange: Exchange, error: GatewayError) -> EndReason:
        if exchange.commit is Commit.OPEN:
            exchange.answered(error.status)
            exchange.failed(error)
            self._write_refusal(error, exchange.request_id or new_request_id())
        return end_reason(error)

    def _cut(self, request: Request) -> None:
        """End a request whose response is not complete: the client has left, or the gateway ends
        it.
        """
        if self._request is not request:
            return
        exchange = request.exchange
        if self._ending is not None:
            reason = self._answer_ending(exchange, self._ending)
        else:
            reason = EndReason.DRAIN if self._listener.cutting else EndReason.CLIENT_ABORT
        self._give_up(request, reason)
        self._finish()

    def broke(self, error: Exception) -> None:
        """Cut the connection after an error of the gateway's own: part of the head may be sent, so
        no error response is possible.
        """
        if self._request is not None:
            self._fail(self._request, error)

    def _fail(self, request: Request, error: BaseException) -> None:
        self._listener.logger.error(
            "response_failed", request_id=request.exchange.request_id, exc_info=error
        )
        if self._request is request:
            self._give_up(request, EndReason.INTERNAL)
        self.cut()

    def _give_up(self, request: Request, reason: EndReason) -> None:
        """Stop all work for a request, and end its exchange."""
        if self.pending is not None:
            self.pending.cancel()
        if isinstance(self._response, ClientResponse):
            self._response.left()
        self._leave(request, reason)
        self._cancel_tasks()

    def _leave(self, request: Request, reason: EndReason) -> None:
        """End the client's side of the exchange."""
        if self._expiry is not None:
            self._stop_expiry()
        self._request = self._response = self.pending = self.exchange = None
        exchange = request.exchange
        exchange.leave(reason)
        if exchange.detachment is not None and exchange.detached_owner is not None:
            self._listener.kept(exchange)

    def _complete_head(self, response: web.StreamResponse, exchange: Exchange) -> None:
        exchange.answered(response.status)
        headers = response.headers
        for name, value in fields_of_exchange(exchange):
            headers[name] = value
        headers["Server"] = "gateway"  # otherwise aiohttp sends its version
        if not self.may_keep_alive():
            response.force_close()
