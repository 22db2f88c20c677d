"""Parsing on a client connection: from bytes to a queue of requests, within the budget of a turn.

aiohttp's parser gets one head or one body at a time, or a part of one. So bytes after a request are
never taken for a part of it, and a syntax error in them does not lose the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.hdrs import CONTENT_LENGTH

from gateway.aiohttp_adaptor import (
    HeadCaps,
    HttpProcessingError,
    HttpProtocol,
    RawRequestMessage,
)
from gateway.client_connection import ByteSink
from gateway.config import models
from gateway.errors import GatewayError, HeadersTooLarge
from gateway.known_head import KnownHead, KnownHeads, PeerAddress
from gateway.load.backlog import Backlog
from gateway.load.pacing import FREE_BYTES, LINES_A_TURN, turn_end
from gateway.load.turn_writes import TurnWrites
from gateway.server.refusals import refusal_for

_LARGE_BYTES = 16 * 1024
"""Size of a piece above which what others write does not wait for many of them."""
_BLANK_LINE = b"\r\n\r\n"
_QUEUED = 32
"""Requests that may wait behind the one being served; the connection is not read beyond that."""
_QUEUED_AGAIN = 16
"""Number of waiting requests at which the connection is read again."""
_EARLY_CAP_BYTES = 64 * 1024
"""Bytes of another protocol to buffer before its handler takes over; reading pauses beyond that."""


_MOST_STRANGE_HEADS = 4
"""Number of unknown heads after which a connection is not searched for known ones any more."""
_KNOWN_BODY_BYTES = 32 * 1024
"""Largest body of a request with a known head. For a larger one, aiohttp's parser would pause
reading.
"""

Heads = Sequence[tuple[RawRequestMessage, StreamReader]]
Received = tuple[RawRequestMessage, StreamReader, KnownHead | None, bytes | None]
"""Parsed head, its body, and the known head that it equals, if any. If the head was not parsed
again, the last element is the whole body.
"""


class ParsingRules(Protocol):
    """What parsing uses of the listener."""

    loop: asyncio.AbstractEventLoop
    options: models.ServerSettings
    header_bytes: int
    head_caps: HeadCaps
    known_heads: KnownHeads
    backlog: Backlog
    writes: TurnWrites


class RequestReader(HttpProtocol):
    """Protocol that queues the requests it receives, and notes why it cannot read on."""

    __slots__ = (
        "_at_start",
        "_body",
        "_body_length",
        "_early",
        "_head_bytes",
        "_in_backlog",
        "_known",
        "_last",
        "_listener",
        "_once",
        "_parsed",
        "_peer",
        "_queue",
        "_queue_is_full",
        "_refusal",
        "_sink",
        "_strange_heads",
        "_trailing",
        "_unparsed",
    )

    def __init__(self, listener: ParsingRules) -> None:
        super().__init__(listener.loop, listener.head_caps)
        self._listener = listener
        self._queue: list[Received] = []  # a deque takes 700 bytes, and is nearly always empty
        """Requests that have not begun. The body of the last one may be incomplete."""
        self._queue_is_full = False
        self._refusal: GatewayError | None = None
        """Error to answer with after the requests in the queue, before the connection closes."""
        self._last = False
        """True if no request is served after those in flight and in the queue."""
        self._once = False
        """True if at most one more request is served."""
        self._at_start = True
        """True between two requests: whatever was received is parsed, and nothing is paused."""
        self._head_bytes = 0
        """Bytes received of a request head that is not complete yet; 0 if none has begun."""
        self._peer: PeerAddress = ("", False)
        """Address of the client, or of its proxy, and whether that is a trusted one."""
        self._known: KnownHead | None = None
        """Last head, if it was known. The client may send it again."""
        self._strange_heads = 0
        """Number of heads that were not known."""
        self._body: StreamReader = EMPTY_PAYLOAD
        """Body of the request that was parsed last. It is being received until its EOF."""
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
        self._early = b""
        """Bytes of another protocol, until `_sink` takes them."""
        self._sink: ByteSink | None = None

    # -- implemented by the connection -----------------------------------------------------

    def _arrived(self) -> None:
        """Begin the next step: a request, a refusal, or the close."""
        raise NotImplementedError

    def _head_began(self) -> None:
        """Set the deadline of a request head whose first byte has arrived."""
        raise NotImplementedError

    # -- receiving -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse data of the client.

        Nearly always that is one request with its whole body, on a connection that waits for it.
        Its head may be known, and its body small; otherwise two calls of the parser are enough.
        Other bytes go to `_received`.
        """
        if not self._at_start or self._queue:
            self._received(data)
            return
        known = None
        if self._strange_heads < _MOST_STRANGE_HEADS:
            if self._repeats(data):
                self._arrived()
                return
            known = self._known
        cut = data.find(_BLANK_LINE) + len(_BLANK_LINE)
        if not len(_BLANK_LINE) < cut <= self._listener.header_bytes:
            self._received(data)
            return
        self._at_start = False
        end = len(data)
        try:
            head = data if cut == end else data[:cut]
            requests, self.upgraded, tail = self.feed(head)
        except HttpProcessingError as exc:
            self._refuse(refusal_for(exc))
            self._arrived()
            return
        if not requests or self.upgraded:
            self._fed(requests, tail, head, in_body=False)
            self._parse(data, cut)
            self._arrived()
            return
        if self._once:
            self._last = True
        message, self._body = requests[0]
        if known is None and self._strange_heads < _MOST_STRANGE_HEADS:
            self._listener.known_heads.add(self._peer, head, message)
        self._queue.append((message, self._body, known, None))
        if self._body is EMPTY_PAYLOAD:
            self._body_length = 0
            left = 0
        elif message.chunked:
            self._body_length = 0
            left = -1
        else:
            self._body_length = left = int(message.headers.get(CONTENT_LENGTH, 0))
        if left == end - cut:
            if left:
                self._feed(data[cut:], in_body=True)
                if self._body.is_eof():
                    self._body = EMPTY_PAYLOAD  # the request has it, until it is read
            self._at_start = self._refusal is None
        else:
            self._parse(data, cut)
        self._arrived()

    def _repeats(self, data: bytes) -> bool:
        """Queue one whole request whose head was sent before, on this connection or another. Return
        False if `data` is anything else: then it has to be parsed. `_known` is its head, if that
        was sent before.
        """
        known = self._known
        at = None if known is None else known.match(data)
        if at is None:
            self._known = known = self._listener.known_heads.find(self._peer, data)
            at = None if known is None else known.match(data)
        if known is None or at is None:
            self._known = None
            self._strange_heads += 1
            return False
        if not at or len(data) - at > _KNOWN_BODY_BYTES or at > self._listener.header_bytes:
            return False
        if self._once:
            self._last = True
        self._queue.append((known.message, EMPTY_PAYLOAD, known, data[at:]))
        return True

    def _received(self, data: bytes) -> None:
        """Parse bytes that are not exactly one request."""
        if self._refusal is not None or self.transport is None:
            return
        self._at_start = False
        if self.upgraded:
            self._after_upgrade(data)
        elif not data:
            # The parser, which was paused, continues with the part of a body that it held back.
            self._feed(data, in_body=True)
        elif self._unparsed:
            self._unparsed = self._unparsed[self._parsed :] + data
            self._parsed = 0
        else:
            self._parse(data, 0)
        self._arrived()

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

    def take_over(self, sink: ByteSink) -> bytes:
        """Give all bytes that the client sends from now on to `sink`. Return the bytes that the
        client has sent since its request.
        """
        self._sink = sink
        early, self._early = self._early, b""
        self.resume_reading()
        return early

    # -- parsing ---------------------------------------------------------------------------

    def _parse(self, data: bytes, at: int) -> bool:
        """Parse `data` from index `at`, up to this turn's budget. Return False if data remains; it
        is then in `_unparsed`.
        """
        end, lines_left = len(data), LINES_A_TURN
        while at < end and self._refusal is None:
            if self.upgraded:
                self._after_upgrade(data[at:])
                break
            if self._is_full or not lines_left:
                self._unparsed, self._parsed = data, at
                self.stop_reading()
                self.read_on()
                return False
            body = self._body
            in_body = not body.is_eof()
            left = self._body_length - body.total_bytes if in_body else 0
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
        self._at_start = not (
            self._head_bytes
            or self._trailing
            or self.upgraded
            or self._refusal is not None
            or self._is_full
            or not self._body.is_eof()
        )
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
        if len(piece) > _LARGE_BYTES:
            self._listener.writes.passes(len(piece))
        try:
            requests, self.upgraded, tail = self.feed(piece)
        except HttpProcessingError as exc:
            self._refuse(refusal_for(exc))
            return
        if requests or not in_body or tail:
            self._fed(requests, tail, piece, in_body)

    def _fed(self, requests: Heads, tail: bytes, piece: bytes, in_body: bool) -> None:
        """Use what the parser made of a piece."""
        if self.upgraded and tail:
            self._after_upgrade(tail)
        if requests:
            self._accept(requests, piece)
        elif not in_body:
            self._await_head(piece)

    def _accept(self, requests: Heads, piece: bytes) -> None:
        """Queue the request whose head ends with this piece. Refuse it if its head is too large."""
        message, body = requests[-1]
        if not self._head_bytes and self._strange_heads < _MOST_STRANGE_HEADS:
            self._listener.known_heads.add(self._peer, piece, message)
        if self._head_bytes + len(piece) > self._listener.header_bytes:
            self._refuse(HeadersTooLarge())
            return
        self._head_bytes = 0
        self._last = self._last or self._once
        self._body = body
        self._body_length = 0
        if not (message.chunked or self._body.is_eof()):
            self._body_length = int(message.headers.get(CONTENT_LENGTH, 0))
        self._queue.append((message, body, None, None))
        if len(self._queue) >= _QUEUED and not self._queue_is_full:
            self._queue_is_full = True
            self.stop_reading()

    def _await_head(self, piece: bytes) -> None:
        """Count bytes of an incomplete request head, and set its deadline when it begins. Refuse
        the request if its head is too large.
        """
        if not self._head_bytes:
            piece = piece.lstrip(b"\r\n")  # empty lines before a head (RFC 9112 section 2.2)
            if not piece:
                return
            self._head_began()
        self._head_bytes += len(piece)
        if self._head_bytes > self._listener.header_bytes:
            self._refuse(HeadersTooLarge())

    def _refuse(self, error: GatewayError) -> None:
        """Answer earlier requests, then send `error` and close."""
        self._refusal = error
        self._at_start = False
        self._unparsed = b""
        body = self._body
        if body.is_eof():
            return
        if self._queue and self._queue[-1][1] is body:
            self._queue.pop()  # its body is malformed, and its handler has not begun
        else:
            # The syntax error is inside a body that a handler may be waiting for.
            body.set_exception(web.RequestPayloadError("malformed"))

    # -- pausing ---------------------------------------------------------------------------

    @property
    def _is_full(self) -> bool:
        """True while the body or the queue has no room. `read_on` is called when it has again."""
        return self._queue_is_full or self.reading_paused

    def _make_room(self) -> None:
        """Read on if the queue, which was full, has room again."""
        if len(self._queue) <= _QUEUED_AGAIN:
            self._queue_is_full = False
            self.read_on()

    def read_on(self) -> None:
        """Read again. Bytes that were read before are parsed first, one budget in each turn."""
        if self._is_full:
            return
        if not self._unparsed:
            super().read_on()
        elif not self._in_backlog:
            self._in_backlog = True
            self._listener.backlog.add(self._parse_more)

    def _parse_more(self) -> None:
        self._in_backlog = False
        if self._unparsed and not self._is_full:
            if self._parse(self._unparsed, self._parsed):
                self.read_on()
            self._arrived()
