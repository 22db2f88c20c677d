"""Client connection: aiohttp's protocol class, with the caps and timeouts of a public server.

aiohttp parses requests. The differences: request heads have a total size cap and a deadline;
refusals are fixed bytes that repeat nothing of the request; a request needs no task and no aiohttp
request object; and a client that is gone is distinguished from one that only stopped sending.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol, cast

from aiohttp import HttpVersion11, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.hdrs import CONTENT_LENGTH
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.tcp_helpers import tcp_keepalive
from aiohttp.web_protocol import RequestHandler
from structlog.typing import FilteringBoundLogger

from gateway.app import Runtime
from gateway.backlog import Backlog
from gateway.client_connection import BodyWriter, ByteSink, Cancellable
from gateway.client_response import ClientResponse
from gateway.config import models
from gateway.errors import (
    CredentialExpired,
    GatewayError,
    HeadersTooLarge,
    RequestTimeout,
    Unavailable,
)
from gateway.exchange import Commit, EndReason, Exchange
from gateway.facts import Voucher
from gateway.forwarded import client_address
from gateway.known_head import KnownHead
from gateway.middleware.plugin import plugin_request
from gateway.middleware.request_id import new_request_id
from gateway.pacing import FREE_BYTES, LINES_A_TURN, turn_end
from gateway.proxy.response_body import end_reason
from gateway.request import Request
from gateway.server.half_closed import CAN_TELL, HalfClosed
from gateway.server.refusals import fixed_response, refusal_for, refusal_for_version
from gateway.server.stall import StallWatch
from gateway.server.turns import Turns
from gateway.server.whole import whole_response

_LINGER_S = 2.0
_LINGER_CAP_BYTES = 1024 * 1024
_TURNED_AWAY_S = 0.5
_LAST_REQUEST_S = 0.5
"""Seconds until an idle connection is closed when the gateway drains."""
_EARLY_CAP_BYTES = 64 * 1024
"""Bytes of another protocol to buffer before its handler takes over; reading pauses beyond that."""
_NEVER = float("inf")
_LONGEST_S = 3600.0
"""Longest time between two checks of a credential's expiry, in seconds."""
_BLANK_LINE = b"\r\n\r\n"
_MOST_STRANGE_HEADS = 3
"""Heads after which a client is not expected to repeat any."""


class Owner(Protocol):
    """Interface of the listener that a connection uses."""

    runtime: Runtime
    options: models.ServerSettings
    logger: FilteringBoundLogger
    draining: bool
    cutting: bool
    turns: Turns
    backlog: Backlog
    refusals: Counter[str]

    def __call__(self) -> Connection:
        """Return a new connection."""

    def admits(self, connection: Connection) -> bool:
        """Count a connection in. Return False, without counting it, if there are too many."""

    def lost(self, connection: Connection) -> None:
        """Count a closed connection out."""

    def kept(self, exchange: Exchange) -> None:
        """Track an exchange that continues without its client."""


class Connection(RequestHandler):
    """Protocol of one client connection. Serves its requests one after the other."""

    __slots__ = (
        "_arrived",
        "_body",
        "_body_length",
        "_deadline",
        "_discarded",
        "_discarding",
        "_early",
        "_ending",
        "_expiry",
        "_half_closed",
        "_head",
        "_head_bytes",
        "_in_backlog",
        "_known",
        "_last",
        "_listener",
        "_once",
        "_parsed",
        "_peer",
        "_pending",
        "_pipelined",
        "_read_to_the_end",
        "_refusal",
        "_request",
        "_response",
        "_served_body",
        "_sink",
        "_stall",
        "_strange_heads",
        "_takes_turn",
        "_tasks",
        "_tcp",
        "_timer",
        "_timer_at",
        "_trailing",
        "_trusted",
        "_unparsed",
        "_voucher",
        "_writer",
        "exchange",
        "secure",
    )

    def __init__(self, listener: Owner, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, keepalive_timeout=0, access_log=None, **options)  # type: ignore[arg-type]
        self._listener = listener
        self.exchange: Exchange | None = None
        """Exchange in flight, if any."""
        self._peer = ""
        self._trusted = False
        self._voucher: Voucher | None = None
        self._tcp: asyncio.Transport | None = None
        self._head_bytes = 0
        """Bytes received of a request head that is not complete yet; 0 if none has begun."""
        self._body: StreamReader | None = None
        """Body of the request that was parsed last. It is being received until its EOF."""
        self._served_body: StreamReader | None = None
        """Body of the request being served; bodies of later requests may follow already."""
        self._body_length = 0
        """Content-Length of `_body`; 0 if it is chunked."""
        self._trailing = b""
        """Last bytes parsed, up to three. They may begin the blank line that ends a head."""
        self._unparsed = b""
        """Bytes received and not parsed yet: over this turn's budget, or while parsing pauses."""
        self._parsed = 0
        """Length of the part of `_unparsed` that is parsed already. Cutting it off would copy the
        rest.
        """
        self._in_backlog = False
        self._refusal: GatewayError | None = None
        self._ending: GatewayError | None = None
        self._last = False
        self._once = False
        self._read_to_the_end = False
        self._writer: BodyWriter | None = None
        self._early = b""
        self._sink: ByteSink | None = None
        self.secure = False
        self._request: Request | None = None
        """Request in flight, if any."""
        self._pending: Cancellable | None = None
        """Answer that the request in flight waits for without a task."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Tasks of the request in flight."""
        self._response: web.StreamResponse | None = None
        """Response that is being sent."""
        self._head: tuple[bytes, RawRequestMessage] | None = None
        """Bytes of the last head that was parsed, and the result."""
        self._known: KnownHead | None = None
        """Head that the client may send again."""
        self._strange_heads = 0
        """Number of heads that did not equal the one before."""
        self._arrived: bytes | None = None
        """Body of the next request, whose head is `_known`."""
        self._takes_turn = False
        """True while the next request waits for its turn."""
        self._discarding = False
        """True once everything that the client sends is discarded, and the connection closes."""
        self._discarded = 0
        self._deadline = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._expiry: asyncio.Handle | None = None
        self._stall: StallWatch | None = None
        self._half_closed: HalfClosed | None = None

    # -- asyncio callbacks ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        listener = self._listener
        self._tcp = tcp = cast(asyncio.Transport, transport)
        if not listener.admits(self):
            self._turn_away(tcp)
            return
        peer = tcp.get_extra_info("peername")
        self._peer = "127.0.0.1"
        if isinstance(peer, tuple):
            # Drop the zone of a link-local address.
            self._peer = client_address(peer[0].partition("%")[0]) or peer[0]
        self._trusted = listener.runtime.proxies.trusts(self._peer)
        # Pause a writer as soon as the kernel does not take all bytes: see `BodyWriter.pause`.
        tcp.set_write_buffer_limits(high=0)
        self._set_deadline(self._loop.time() + listener.options.header_timeout)
        if listener.draining:
            self._expect_the_last()  # accepted just before the listening sockets were closed
        self.secure = tcp.get_extra_info("sslcontext") is not None
        # Not aiohttp's method, which would start a task.
        BaseProtocol.connection_made(self, transport)
        tcp_keepalive(tcp)

    def connection_lost(self, exc: BaseException | None) -> None:
        for clock in (self._stall, self._half_closed):
            if clock is not None:
                clock.close()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._tcp = None
        self._unparsed = b""
        super().connection_lost(exc)
        self.drop()
        self._listener.lost(self)

    def data_received(self, data: bytes) -> None:
        if self._discarding:
            self._discarded += len(data)
            if self._discarded > _LINGER_CAP_BYTES:
                self._close_now()
            return
        if self._force_close or self._refusal is not None or self._parser is None:
            return
        if self._upgraded:
            self._after_upgrade(data)
        elif not data:
            # aiohttp calls this without data so that its parser, which was paused, continues with
            # the part of a body that it held back.
            self._feed(data, in_body=True)
        elif self._unparsed:
            self._unparsed = self._unparsed[self._parsed :] + data
            self._parsed = 0
        elif self._request is not None or not self._is_known(data):
            self._parse(data, 0)
        if self._request is None:
            self._look_for_work()

    def _is_known(self, data: bytes) -> bool:
        """Take one whole request whose head was sent before. Return False if `data` is anything
        else: then it has to be parsed.
        """
        if (
            self._head_bytes
            or self._trailing
            or self._messages
            or self._arrived is not None
            or not self._body_is_received
        ):
            return False
        head, self._head = self._head, None
        if head is not None:
            self._known = KnownHead.of(*head)
        if self._known is None:
            return False
        found = self._known.match(data)
        if found is None:
            self._known = None
            self._strange_heads += 1
            return False
        end, length = found
        options = self._listener.options
        if len(data) - end != length or end > options.header_bytes or length > FREE_BYTES:
            return False
        if self._once:
            self._last = True
        self._arrived = data[end:]
        return True

    def eof_received(self) -> bool:  # type: ignore[override]
        """Handle the client's FIN. Return True to keep the connection open for the response."""
        self._last = self._read_to_the_end = True
        if self._discarding:
            return False
        whole = self._body is not None and self._body.is_eof() and not self._upgraded
        if (self.exchange is None and not self._messages) or not whole or not CAN_TELL:
            return False
        assert self._tcp is not None
        self._half_closed = HalfClosed(self._loop, self._tcp, self._say_nothing)
        return True

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp's body reader calls this at its end and after each piece, even if nothing was
        # paused. aiohttp would then look for data to parse and resume the transport, twice for
        # each request.
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._writer is not None:
            self._writer.pause()
        self._watch_stall()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writer is not None:
            self._writer.resume()

    # -- interface for relays ------------------------------------------------------------

    def may_keep_alive(self) -> bool:
        """Tell whether another request may follow. False while this one's body is incomplete."""
        exchange = self.exchange
        return not (self._last or (exchange is not None and exchange.must_close)) and (
            self._served_body is None or self._served_body.is_eof()
        )

    @property
    def _body_is_received(self) -> bool:
        return self._body is None or self._body.is_eof()

    @property
    def backlog(self) -> Backlog:
        """Queue for work to do in later turns of the event loop."""
        return self._listener.backlog

    def attach(self, writer: BodyWriter) -> None:
        """Tell `writer` when to pause and resume, until `detach`."""
        self._writer = writer
        exchange = self.exchange
        if exchange is not None and exchange.expires_at is not None:
            self._look_at_expiry()
        self._listener.turns.streams += 1
        if self._paused:
            writer.pause()

    def detach(self) -> None:
        """Stop telling the writer: the body has ended."""
        if self._writer is not None:
            self._listener.turns.streams -= 1
            self._writer = None

    def take_over(self, sink: ByteSink) -> bytes:
        """Give all bytes that the client sends from now on to `sink`. Return the bytes that the
        client has sent since its request.
        """
        self._sink = sink
        early, self._early = self._early, b""
        self.resume_reading()
        return early

    def branch(self, voucher: Voucher) -> Connection:
        """Return another connection of the same client, for a request of its session."""
        branch = self._listener()
        branch._voucher = voucher
        return branch

    def _after_upgrade(self, data: bytes) -> None:
        """Give bytes of another protocol to the sink. Until there is one, buffer them and forward
        nothing.
        """
        if self._sink is not None:
            self._sink.received(data)
            return
        self._early += data
        if len(self._early) > _EARLY_CAP_BYTES:
            self.pause_reading()

    # -- requests ------------------------------------------------------------------------

    def _look_for_work(self) -> None:
        """Begin what is to be done next, when its turn comes."""
        if self._messages or self._arrived is not None:
            self._take_turn()
        elif self._refusal is not None or self._last:
            self._go_on()

    def _take_turn(self) -> None:
        """Begin the next request when it is the turn of this client; a bridge's generations share
        one.
        """
        # One turn for each wait: a turn that begins nothing would keep others waiting all the same.
        if not self._takes_turn:
            self._takes_turn = True
            voucher = self._voucher
            self._listener.turns.take(self._turn, self if voucher is None else voucher.request_id)

    def _turn(self) -> None:
        self._takes_turn = False
        self._go_on()

    def _go_on(self) -> None:
        """Begin the next request; refuse what cannot be parsed; or close after the last request."""
        if self._request is not None or self._force_close or self._discarding:
            return
        if self._arrived is not None and self._known is not None:
            arrived, self._arrived = self._arrived, None
            self._deadline = _NEVER
            if self._ending is None:
                self._serve(self._known.message, EMPTY_PAYLOAD, self._known, arrived)
                return
            self._refusal = self._ending
        if self._messages:
            message, payload = self._messages.popleft()
            self._deadline = _NEVER
            version = message.version  # type: ignore[union-attr]
            if version is HttpVersion11 and self._ending is None:
                self._serve(message, payload)  # type: ignore[arg-type]
                self._make_room()
                return
            self._messages.clear()
            self._refusal = self._ending or refusal_for_version(version)
        if self._refusal is not None:
            self._say_refusal(self._refusal)
            self._finish()
        elif self._last:
            self._finish()

    def _make_room(self) -> None:
        """Tell aiohttp's parser that a request was taken from the queue."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    def _say_refusal(self, refusal: GatewayError) -> None:
        self._listener.refusals[refusal.code] += 1
        request_id = new_request_id()
        self._listener.logger.info(
            "refused", request_id=request_id, client=self._peer, error=refusal.code
        )
        self._write(fixed_response(refusal, request_id))

    def _serve(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        known: KnownHead | None = None,
        arrived: bytes | None = None,
    ) -> None:
        """Begin to answer one request. `known` and `arrived`: see `Request`."""
        exchange = Exchange(message.method, self._peer, self._trusted)
        if message.should_close:
            exchange.must_close = True
        exchange.voucher = self._voucher
        self.exchange = exchange
        self._served_body = payload
        self._request = request = Request(message, payload, self, exchange, known, arrived)
        try:
            self._listener.runtime.serve(request)
        except Exception as exc:
            self._fail(request, exc)

    # -- interface for pipelines ---------------------------------------------------------

    def work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine for the request in flight. It is cancelled if the client leaves."""
        request = self._request
        if request is None:
            coroutine.close()
            return
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(partial(self._worked, request))

    def _worked(self, request: Request, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._cut(request)
        elif (error := task.exception()) is not None:
            if isinstance(error, ConnectionError):
                self._cut(request)
            else:
                self._fail(request, error)

    def wait(self, pending: Cancellable) -> None:
        """Wait for an answer that will be sent. It is cancelled if the client leaves."""
        self._pending = pending

    def send(self, response: web.StreamResponse) -> None:
        """Send the response to the request in flight."""
        request = self._request
        if request is None:
            return  # it was cut off
        self._pending = None
        self._response = response
        exchange = request.exchange
        try:
            if isinstance(response, ClientResponse):
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
                data = whole_response(response, exchange.method)
                if data is None:
                    self.work(self._send_as_aiohttp_does(request, response))
                else:
                    exchange.bytes_out = len(data[1])
                    self._write(data[0] + data[1])
                    self.sent(response)
        except ConnectionError:
            self._cut(request)
        except Exception as exc:
            self._fail(request, exc)
        else:
            if exchange.session is not None and self._listener.draining:
                exchange.session.drain()  # the drain began before the session could be told

    async def _send_as_aiohttp_does(self, request: Request, response: web.StreamResponse) -> None:
        """Send a response of a plug-in that is more than bytes."""
        await response.prepare(plugin_request(request))
        await response.write_eof()
        if not request.exchange.bytes_out:
            request.exchange.bytes_out = response.body_length
        self.sent(response)

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
            self._once, self._last = True, bool(self._messages)
            keep = not exchange.must_close and request.content.is_eof()
        elif keep:
            keep = self.may_keep_alive()
        self._leave(request, EndReason.COMPLETE)
        if not keep:
            self._finish()
        elif self._once:
            self._expect_the_last()
            self._look_for_more()
        else:
            options = self._listener.options
            patience_s = options.header_timeout if self._head_bytes else options.keepalive
            self._set_deadline(self._loop.time() + patience_s)
            self._look_for_more()

    def _look_for_more(self) -> None:
        """Begin a request that has already arrived, after other connections had their turn."""
        if self._messages:
            if not self._takes_turn:
                self._takes_turn = True
                self.backlog.add(self._turn)
        elif self._refusal is not None or self._last:
            self._go_on()

    def drop(self) -> None:
        """End the request in flight, whose stream has just received an error."""
        if not self._cancel_tasks() and self._request is not None:
            self._cut(self._request)

    def _cancel_tasks(self) -> bool:
        """Cancel the tasks of the request in flight. Return False if there are none."""
        running = [task for task in self._tasks if not task.done()]
        for task in running:
            task.cancel()
        return bool(running)

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
        if self._tcp is not None:
            self._tcp.abort()

    def _give_up(self, request: Request, reason: EndReason) -> None:
        """Stop whatever still works for a request, and end its exchange."""
        if self._pending is not None:
            self._pending.cancel()
        if isinstance(self._response, ClientResponse):
            self._response.left()
        self._leave(request, reason)
        self._cancel_tasks()

    def _leave(self, request: Request, reason: EndReason) -> None:
        """End the client's side of the exchange."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._request = self._response = self._pending = self.exchange = None
        exchange = request.exchange
        exchange.leave(reason)
        if exchange.keeper is not None:
            self._listener.kept(exchange)

    def _complete_head(self, response: web.StreamResponse, exchange: Exchange) -> None:
        exchange.status = response.status
        for name, value in exchange.response_headers:
            response.headers[name] = value
        if exchange.decided is not None:
            for name, value in exchange.decided.header_pairs():
                response.headers[name] = value
        response.headers["Server"] = "gateway"  # otherwise aiohttp sends its version
        if not self.may_keep_alive():
            response.force_close()
        if exchange.commit is Commit.OPEN:
            exchange.commit = Commit.ANSWERED

    # -- parsing -------------------------------------------------------------------------

    def _parse(self, data: bytes, at: int) -> bool:
        """Parse `data` from index `at`, up to this turn's budget. Return False if data remains; it
        is then in `_unparsed`.

        Each call of the parser gets one head or one body, or a part of one. So bytes after a
        request are never taken for a part of it, and a syntax error in them does not lose the
        request.
        """
        end, lines_left = len(data), LINES_A_TURN
        while at < end and self._refusal is None:
            if self._upgraded:
                self._after_upgrade(data[at:])
                break
            if self._reading_paused or self._buffer_paused or not lines_left:
                self._unparsed, self._parsed = data, at
                self._pause_transport_reading()
                self._resume_transport_reading()
                return False
            body = self._body
            in_body = body is not None and not body.is_eof()
            left = self._body_length - body.total_bytes if body is not None and in_body else 0
            if left > 0:
                cut = min(at + left, end)
            elif end <= FREE_BYTES:
                cut = self._piece_end(data, at, end)
            else:
                cut = self._piece_end(data, at, turn_end(data, at, end, lines_left))
                lines_left -= data.count(b"\n", at, cut)
            self._feed(data[at:cut], in_body)
            at = cut
        self._unparsed = b""
        return True

    def _piece_end(self, data: bytes, at: int, end: int) -> int:
        """Return the index after the next blank line, which ends a head or a chunked body; `end`
        if there is none before it.
        """
        found = data.find(_BLANK_LINE, at, end)
        cut = end if found < 0 else found + len(_BLANK_LINE)
        trailing = self._trailing
        if trailing:
            across = (trailing + data[at : at + 3]).find(_BLANK_LINE)
            if across >= 0:
                cut = at + across + len(_BLANK_LINE) - len(trailing)
        elif found >= 0:
            return cut
        last = (trailing + data[max(at, cut - 4) : cut])[-4:]
        self._trailing = b"" if last == _BLANK_LINE else last[-3:]
        return cut

    def _feed(self, piece: bytes, in_body: bool) -> None:
        """Parse a piece of one request, or of its body if `in_body`. With an empty piece, the
        parser continues where it paused.
        """
        assert self._parser is not None
        try:
            messages, self._upgraded, tail = self._parser.feed_data(piece)
        except HttpProcessingError as exc:
            self._refuse(refusal_for(exc))
            return
        if self._upgraded and tail:
            self._after_upgrade(tail)
        if messages:
            self._accept(messages, piece)
        elif not in_body:
            self._await_head(piece)

    def _is_full(self) -> bool:
        """Tell whether the body or the request queue has no room. aiohttp calls
        `_resume_transport_reading` when there is room again.
        """
        return self._reading_paused or self._buffer_paused

    def _resume_transport_reading(self) -> None:
        # aiohttp calls this when its parser or its queue has room again. Bytes that were read
        # before are parsed first, one budget in each turn.
        if not self._unparsed:
            super()._resume_transport_reading()
        elif not (self._in_backlog or self._is_full()):
            self._in_backlog = True
            self.backlog.add(self._parse_more)

    def _parse_more(self) -> None:
        self._in_backlog = False
        if self._unparsed and not self._is_full():
            parsed = self._parse(self._unparsed, self._parsed)
            if parsed and not self._is_full():
                self._resume_transport_reading()
            if self._request is None:
                self._look_for_work()

    def _accept(self, messages: Any, piece: bytes) -> None:
        """Queue the request whose head ends with this piece. Refuse it if its head is too large."""
        if not self._head_bytes and self._strange_heads < _MOST_STRANGE_HEADS:
            self._head = piece, messages[-1][0]
        if self._head_bytes + len(piece) > self._listener.options.header_bytes:
            self._refuse(HeadersTooLarge())
            return
        self._head_bytes = 0
        self._last = self._last or self._once
        message, self._body = messages[-1]
        self._body_length = 0
        if not (message.chunked or self._body.is_eof()):
            self._body_length = int(message.headers.get(CONTENT_LENGTH, 0))
        self._messages.extend(messages)
        if not self._buffer_paused and len(self._messages) >= self._max_msg_queue_size:
            self._pause_reading_for_buffer()

    def _await_head(self, piece: bytes) -> None:
        """Count bytes of an incomplete request head, and set its deadline when it begins. Refuse
        the request if its head is too large.
        """
        options = self._listener.options
        if not self._head_bytes:
            piece = piece.lstrip(b"\r\n")  # empty lines before a head (RFC 9112 section 2.2)
            if not piece:
                return
            if not self._messages and self.exchange is None:
                self._set_deadline(self._loop.time() + options.header_timeout)
        self._head_bytes += len(piece)
        if self._head_bytes > options.header_bytes:
            self._refuse(HeadersTooLarge())

    def _refuse(self, error: GatewayError) -> None:
        """Answer earlier requests, then send `error` and close."""
        self._refusal = error
        self._unparsed = b""
        body = self._body
        if self._messages and self._messages[-1][1] is body and not self._body_is_received:
            self._messages.pop()  # its body is malformed, and its handler has not begun
        elif body is not None and not body.is_eof():
            # The syntax error is inside a body that a handler may be waiting for.
            body.set_exception(web.RequestPayloadError("malformed"))

    # -- closing -------------------------------------------------------------------------

    def drain(self) -> None:
        """Serve requests that are in flight or have begun to arrive, then close. An idle connection
        serves at most one more request, if it begins within `_LAST_REQUEST_S`.
        """
        exchange = self.exchange
        if exchange is not None or self._messages or self._arrived is not None:
            self._last = True
            if exchange is not None and exchange.session is not None:
                exchange.session.drain()
        elif self._last or self._ending is not None:
            self._last = True
            self._go_on()
        else:
            self._expect_the_last()

    def _expect_the_last(self) -> None:
        """Serve at most one more request, then close. The client does not know yet that the
        connection will close, and its next request may be on the way: closing at once would lose
        it. The response says `Connection: close`.
        """
        self._once = True
        if not self._head_bytes:
            self._set_deadline(self._loop.time() + _LAST_REQUEST_S)

    @property
    def awaited(self) -> bool:
        """True if a request has arrived, or may arrive, that has not begun and will be answered."""
        waits = self._messages or self._head_bytes or self._unparsed or self._arrived is not None
        begun = self.exchange is None and bool(waits)
        return begun or (self._once and not self._last and self._ending is None)

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
        if self._writer is not None:
            self._writer.fail(error)
        else:
            if exchange.early is not None:
                exchange.early.close()  # otherwise it might open a stream that nobody ends
            self.drop()

    def _answer_ending(self, exchange: Exchange, error: GatewayError) -> EndReason:
        if exchange.commit is Commit.OPEN:
            exchange.status = error.status
            exchange.failed(error)
            self._write(fixed_response(error, exchange.request_id or new_request_id()))
        return end_reason(error)

    def cut(self) -> None:
        """Abort the connection now, whatever is in flight."""
        if self._tcp is not None:
            self._tcp.abort()

    def _turn_away(self, tcp: asyncio.Transport) -> None:
        """Refuse a connection beyond the cap: send an error, and abort after `_TURNED_AWAY_S`, so
        that the client can read it.
        """
        self._discarding = True
        error = Unavailable(code="too_many_connections")
        self._listener.refusals[error.code] += 1
        tcp.write(fixed_response(error, new_request_id()))
        if tcp.can_write_eof():
            tcp.write_eof()
        self._timer = self._loop.call_later(_TURNED_AWAY_S, tcp.abort)

    def _finish(self) -> None:
        """Close the connection so that the last response arrives (RFC 9112 section 9.6)."""
        tcp = self._tcp
        if tcp is None or self._discarding:
            return
        unread = (
            self._upgraded
            or self._refusal is not None
            or self._unparsed
            or not self._body_is_received
        )
        if not unread or self._read_to_the_end:
            self._close_now()
            return
        # The client may still be sending. If the socket is closed before its data is read, the
        # kernel sends a reset, and the client may lose the response.
        self._discarding = True
        self._unparsed = b""
        if tcp.can_write_eof():
            tcp.write_eof()
        self._resume_transport_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_LINGER_S, self._close_now)

    def _close_now(self) -> None:
        self._discarding = True
        if self._tcp is not None:
            self._tcp.close()
            self._watch_stall()

    def _write(self, data: bytes) -> None:
        if self._tcp is not None:
            self._tcp.write(data)

    # -- timeouts ------------------------------------------------------------------------

    def _set_deadline(self, deadline: float) -> None:
        """Set the deadline of the connection. As in the upstream connection, there is one timer,
        and moving the deadline later costs nothing.
        """
        self._deadline = deadline
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        deadline = self._deadline
        if deadline == _NEVER:
            return
        if self._loop.time() < deadline:
            self._set_deadline(deadline)
        elif self._head_bytes:
            self._refuse(RequestTimeout())
            self._go_on()
        else:
            self._last = True
            self._go_on()

    def _look_at_expiry(self) -> None:
        """End the stream in flight if its caller's credential has expired; otherwise check again
        when it expires.

        An exchange has one such timer. A writer that is attached later restarts it.
        """
        exchange, writer = self.exchange, self._writer
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if exchange is None or exchange.expires_at is None or writer is None:
            return
        left_s = exchange.expires_at - time.time()
        if left_s > 0:
            # The expiry is wall-clock time, and the clock may be set meanwhile.
            self._expiry = self._loop.call_later(min(left_s, _LONGEST_S), self._look_at_expiry)
        elif writer.is_stream:
            # A writer that is just being attached cannot be ended yet.
            self._expiry = self._loop.call_soon(self.end, CredentialExpired())

    def _watch_stall(self) -> None:
        """Cut the connection if the client reads no waiting byte for `send_timeout`."""
        if self._tcp is not None:
            if self._stall is None:
                self._stall = StallWatch(self._loop, self._tcp)
            self._stall.begin(self._listener.options.send_timeout)

    def _say_nothing(self) -> None:
        """Send bytes without meaning, to detect a dead client: those of the writer, or an interim
        response (RFC 9110 section 15.2) if there is no writer and no response yet.
        """
        exchange = self.exchange
        if self._writer is not None:
            self._writer.probe()
        elif exchange is not None and exchange.commit is Commit.OPEN:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
