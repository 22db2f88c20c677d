"""Writer of a response to a client of a bridge: what `client_stream.py` is for HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.client_connection import AnswerReceiver, ClientConnection
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.heartbeat import COMMENT, Heartbeats
from gateway.outcome import Commit
from gateway.proxy.preface import WithoutBom, without_bom
from gateway.response_writer import BodyEncoder, BodySource, SentHead
from gateway.sse import TAIL_BYTES, between_events

_WAITING_CAP_BYTES = 32 * 1024
"""Bytes that may wait for a slow client before the source is paused."""


class Receiver(AnswerReceiver, Protocol):
    """Receiver of the response that tells how it gets on."""

    @property
    def unread_bytes(self) -> int:
        """Bytes of the body that wait for a slow client."""

    def is_closing(self) -> bool:
        """Tell whether the client has left."""


class BridgeWriter:
    """Writer of one response: see `ResponseWriter` for its methods.

    A message needs no framing, no coding and no heartbeat. A slow client is the socket's concern;
    here the source waits for it.
    """

    def __init__(
        self,
        receiver: Receiver,
        client: ClientConnection,
        exchange: Exchange,
        source: BodySource | None,
        chunked: bool = True,
        encoder: BodyEncoder | None = None,
    ) -> None:
        assert encoder is None, "a request of a bridge accepts no content coding"
        self.look: Callable[[bytes], bytes] | None = None
        self.behind = self.over = False
        self.counted: int | None = None
        self.tail = b""
        self._receiver = receiver
        self._client = client
        self._exchange = exchange
        self._source = source
        self._without_bom: WithoutBom | None = None
        self._attached = False

    # -- for the source ------------------------------------------------------------------

    def begin(
        self,
        head: SentHead | None,
        preface: bytes = b"",
        data: bytes = b"",
        rest: Callable[[], bytes] | None = None,
    ) -> None:
        """Send the head and what there is of the body."""
        if head is None:
            self._strip_bom()
        else:
            self._receiver.head(head.status, head.header_fields())
            if preface:
                self._own(preface)
        if data:
            self.feed(data)
        if rest is not None:
            self.rest(rest())
            self.end()

    def stop_looking(self) -> None:
        """Pass on the rest of the body uninspected."""
        if self._without_bom is None:
            self.look = None

    def follow(self, heartbeats: Heartbeats | None) -> None:
        """Have the client's connection tell when to pause. Messages need no heartbeats: a socket
        has pings.
        """
        self._attached = True
        self._client.attach(self)

    def feed(self, data: bytes) -> None:
        """Inspect and pass on a piece that has just arrived."""
        if self.is_closing() or (self.look is not None and not (data := self.look(data))):
            return
        exchange = self._exchange
        if not exchange.bytes_out:
            exchange.begun()
        exchange.bytes_out += len(data)
        self._pass_on(data)

    def events(self, data: bytes) -> int:
        """Pass on complete events that are inspected already. Return their size."""
        self.counted = (self.counted or 0) + len(data)
        self._pass_on(data)
        return len(data)

    def comment(self, line: bytes = COMMENT) -> bool:
        """Pass on a comment, unless an event is incomplete. Return True if that was possible."""
        if not between_events(self.tail):
            return False
        self._own(line)
        return True

    def rest(self, data: bytes) -> None:
        """Pass on the last bytes of the body, which filters held back."""
        self.look = None
        if self._without_bom is not None:
            data = self._without_bom.last(data)
        if data:
            self.feed(data)

    def end(self, event: bytes | None = None) -> None:
        """End the body, once: complete, or with this error event."""
        if self.over:
            return
        if event is None:
            self._receiver.complete()
        elif event:
            self._own(event)
        self.close()

    def close(self) -> None:
        """Stop writing: the body has ended, or the client has left."""
        self.over = True
        self._source = None
        if self._attached:
            self._attached = False
            self._client.detach()

    def is_closing(self) -> bool:
        """Tell whether the client has left."""
        return self._receiver.is_closing()

    # -- for the client's connection -----------------------------------------------------

    @property
    def is_stream(self) -> bool:
        """True if this is an event stream."""
        return self._exchange.streamed or self._exchange.commit is Commit.EARLY

    def pause(self) -> None:
        """Note that the client reads too slowly."""
        self.behind = True
        self._hold_source()

    def resume(self) -> None:
        """Note that the client has caught up."""
        self.behind = False
        if self._source is not None:
            self._source.caught_up()

    def fail(self, error: GatewayError) -> None:
        """End the body with an error that its source did not cause."""
        if self._source is not None:
            self._source.fail(error)

    def probe(self) -> bool:
        """Return False: the socket itself finds out whether its client is there."""
        return False

    # -- private -------------------------------------------------------------------------

    def _pass_on(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        self._receiver.body(data)
        if self.behind:
            self._hold_source()

    def _own(self, data: bytes) -> None:
        """Pass on bytes of the gateway's own."""
        if not self.tail:
            self._strip_bom()
        self._receiver.body(data)

    def _hold_source(self) -> None:
        if self._receiver.unread_bytes > _WAITING_CAP_BYTES and self._source is not None:
            self._source.pause()

    def _strip_bom(self) -> None:
        if self._without_bom is None:
            self._without_bom, self.look = without_bom(self.look)
