"""Client connection: serves the requests that arrive on it, one after the other.

`parsing.py` makes requests of the bytes, `answering.py` sends a response, `closing.py` ends the
connection. This file decides which of these happens next.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from aiohttp import EMPTY_PAYLOAD, HttpVersion11

from gateway.app import Runtime
from gateway.auth.certificate import PeerCertificate
from gateway.client_connection import Branch
from gateway.deadline import NEVER
from gateway.errors import RequestTimeout
from gateway.exchange import Exchange
from gateway.facts import DelegatedIdentity
from gateway.load.turn_writes import TurnTransport, TurnWrites
from gateway.request import Request
from gateway.routing.forwarded import TrustedProxies
from gateway.server.answering import AnsweringConnection, AnsweringRules
from gateway.server.refusals import refusal_for_version


class Owner(AnsweringRules, Protocol):
    """Interface of the listener that a connection uses."""

    runtime: Runtime
    writes: TurnWrites

    def branch(self, delegated: DelegatedIdentity) -> Branch:
        """Return a new connection for a request of a session."""

    def admits(self, connection: Connection) -> bool:
        """Count a connection in. Return False, without counting it, if there are too many."""

    def lost(self, connection: Connection) -> None:
        """Count a closed connection out."""


class Connection(AnsweringConnection):
    """Protocol of one client connection."""

    __slots__ = ("_delegated", "certificate", "secure")

    _listener: Owner

    def __init__(self, listener: Owner) -> None:
        super().__init__(listener)
        self.secure = False
        """True if the client's connection to this process is encrypted."""
        self.certificate: PeerCertificate | None = None
        """Certificate of the client, if it has sent one."""
        self._delegated: DelegatedIdentity | None = None
        """Identity lent by a session or an unfinished answer, if one makes the requests."""

    # -- asyncio callbacks -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        listener = self._listener
        tcp = TurnTransport(cast(asyncio.Transport, transport), listener.writes)
        self._admitted = listener.admits(self)
        if not self._admitted:
            self._turn_away(tcp)
            return
        address = tcp.get_extra_info("peername")
        if address is None:
            # The client has reset the connection. Its requests may have arrived, but its address is
            # lost, so nothing tells whether it is a trusted proxy.
            tcp.abort()
            return
        self._peer = listener.runtime.proxies.peer(address[0])
        # Pause a writer as soon as the kernel does not take all bytes: see `BodyWriter.pause`.
        tcp.set_write_buffer_limits(high=0)
        self._deadline.move(self.loop.time() + listener.options.header_timeout)
        if listener.draining:
            self._expect_the_last()  # accepted just before the listening sockets were closed
        self.secure = tcp.get_extra_info("sslcontext") is not None
        if self.secure and (shown := tcp.get_extra_info("peercert")):
            self.certificate = PeerCertificate.of(shown)
        self.transport = tcp

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._listener.lost(self)

    def trust(self, proxies: TrustedProxies) -> None:
        """Apply other trusted proxies to the requests that begin from now on."""
        self._peer = proxies.peer(self._peer[0])

    def branch(self, delegated: DelegatedIdentity) -> Branch:
        """Return another connection of the same client, for a request of its session."""
        return self._listener.branch(delegated)

    # -- requests ------------------------------------------------------------------------

    def _arrived(self) -> None:
        """Begin the next request, refusal or close, when its turn comes."""
        if self._request is not None:
            return
        if self._queue:
            # One turn for each wait: a turn that begins nothing would keep others waiting.
            if self._takes_turn:
                return
            turns = self._listener.turns
            if turns.take():
                self._turn()
                return
            self._takes_turn = True
            # The generations of a bridge share one turn.
            turns.wait(self._turn, "" if self._delegated is None else self._delegated.request_id)
        elif self._refusal is not None or self._last:
            self._turn()

    def _head_began(self) -> None:
        if not self._queue and self.exchange is None:
            self._deadline.move(self.loop.time() + self._listener.options.header_timeout)

    def _turn(self) -> None:
        """Begin the next request; refuse what cannot be parsed; or close after the last request."""
        self._takes_turn = False
        if self._request is not None or self.transport is None or self._discarding:
            return
        if self._queue:
            message, body, known, arrived = self._queue.pop(0)
            if self._read_to_the_end:
                self._last = not self._queue  # nothing arrives any more
            self._deadline.at = NEVER
            if message.version is HttpVersion11 and self._ending is None:
                address, is_trusted = self._peer
                self.exchange = exchange = Exchange(message.method, address, is_trusted)
                if message.should_close:
                    exchange.must_close = True
                if self._delegated is not None:
                    exchange.delegated = self._delegated
                is_whole = body is EMPTY_PAYLOAD or body.is_eof()
                self._served_body = EMPTY_PAYLOAD if is_whole else body
                self._request = request = Request(message, body, self, exchange, known, arrived)
                try:
                    self._listener.runtime.serve(request)
                except Exception as exc:
                    self._fail(request, exc)
                if self._queue_is_full:
                    self._make_room()
                return
            self._queue.clear()
            self._refusal = self._ending or refusal_for_version(message.version)
        if self._refusal is not None:
            self._say_refusal(self._refusal)
            self._finish()
        elif self._last:
            self._finish()

    # -- ending ----------------------------------------------------------------------------

    def drain(self) -> None:
        """Serve requests that are in flight or have begun to arrive, then close. An idle connection
        serves at most one more request, if it begins soon.
        """
        exchange = self.exchange
        if self._discarding:
            return  # it is closing already
        if exchange is not None or self._queue:
            self._last = True
            if exchange is not None and exchange.session is not None:
                exchange.session.drain()
        elif self._last or self._ending is not None:
            self._last = True
            self._turn()
        else:
            self._expect_the_last()

    @property
    def awaited(self) -> bool:
        """True if a request that has not begun will be served: one that has arrived, or may still
        arrive.
        """
        if self._discarding:
            return False
        begun = self.exchange is None and bool(self._queue or self._head_bytes or self._unparsed)
        return begun or (self._once and not self._last and self._ending is None)

    def _on_deadline(self) -> None:
        if self._discarding:
            self._stop_lingering()
            return
        if self._head_bytes:
            self._refuse(RequestTimeout())
        else:
            self._last = True
        self._turn()
