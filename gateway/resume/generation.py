"""A generation: one upstream's stream on its way into a log, whoever reads it there.

It holds the exchange that began it: as long as it goes on, its limits, its endpoint and its place
among the open requests are taken, whether its client is still there or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway import sse
from gateway.dialects import Dialect
from gateway.errors import GatewayError, StreamCancelled, UpstreamInvalidResponse
from gateway.exchange import EndReason, Exchange
from gateway.proxy.response_body import ResponseBody, end_reason
from gateway.resume.ids import numbered
from gateway.resume.log import State, StreamLog
from gateway.resume.policy import OnDisconnect, Policy
from gateway.resume.streams import Streams
from gateway.sse import Event, EventSplitter, EventTooLarge, is_event_stream


class Generation:
    """Feeds one log until the stream, or the want of readers, or somebody, ends it."""

    def __init__(
        self,
        streams: Streams,
        log: StreamLog,
        body: ResponseBody,
        exchange: Exchange,
        dialect: Dialect,
        policy: Policy,
    ) -> None:
        self.log = log
        self.exchange = exchange
        self.on_begun: Callable[[bytes], None] | None = None
        """Called once with the first event."""
        self._streams = streams
        self._body = body
        self._look = body.look
        self._dialect = dialect
        self._policy = policy
        self._splitter = EventSplitter()
        self._patience: asyncio.TimerHandle | None = None
        self._half_bytes = log.cap_bytes // 2
        self._waits = False

    def start(self) -> None:
        """Take what is here, and all that comes."""
        self.log.on_readers = self._readers_changed
        self.exchange.keeper = self
        self._streams.started(self)
        upstream = self._body.upstream
        if upstream.unread and (data := upstream.take_unread()):
            self.feed(data)
        if upstream.complete:
            self.finish(None)
        elif upstream.error is not None:
            self.finish(upstream.error)
        elif not self.log.ended:
            upstream.attach(self)

    # The upstream connection calls these two, from its data_received.

    def feed(self, data: bytes) -> None:
        """Keep the events that have become whole. On the path of every event."""
        if self.log.ended:
            return
        look = self._look
        if look is not None and not (data := look(data)):
            return
        exchange = self.exchange
        if not exchange.bytes_out:
            exchange.begun()
        exchange.bytes_out += len(data)
        try:
            events = self._splitter.feed(data)
        except EventTooLarge as exc:
            self._keep(exc.events)
            self._body.abort()
            self._end(UpstreamInvalidResponse(str(exc)))
            return
        self._keep(events)
        log = self.log
        if self.on_begun is not None and log.last:
            self.on_begun(log.pieces(log.first - 1, 1)[0])
            self.on_begun = None
        log.wake()
        if log.size_bytes > self._half_bytes and not self._waits:
            self._wait_for_readers()
        if self._streams.sharing is not None:
            self._streams.sharing.grown(log)

    def finish(self, error: GatewayError | None) -> None:
        """The stream is complete, or broke off."""
        if self.log.ended or self._body.goes_on(error, self):
            return
        if rest := self._body.rest():
            self._look = None
            self.feed(rest)
        # What is left in the splitter is no event, by WHATWG HTML section 9.2.6.
        if not self.log.ended:
            self._end(error)

    @property
    def outlives_a_reader(self) -> bool:
        """Whether it goes on, for a while at least, when one of its readers leaves now."""
        return self._policy.way is not OnDisconnect.CANCEL or len(self.log.readers) > 1

    # -- others end it -----------------------------------------------------------------------

    def fail(self, error: GatewayError) -> None:
        """End it now, with this error for its readers."""
        if not self.log.ended:
            self._body.abort()
            self._end(error)

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self.fail(StreamCancelled())

    def client_left(self) -> None:
        """The client that began it is gone; it may never have read anything."""
        self._readers_changed()

    # -- private -----------------------------------------------------------------------------

    def _keep(self, events: list[Event]) -> None:
        log = self.log
        for event in events:
            kept = numbered(event, b"%b%d" % (log.prefix, log.last + 1))
            if kept is not None:
                log.append(kept)

    def _wait_for_readers(self) -> None:
        """Pause the upstream while all readers are behind, or it would outrun what is kept."""
        if self.log.lag_bytes() > self._half_bytes:
            self._waits = True
            self._body.pause()
            self.log.on_progress = self._go_on

    def _go_on(self) -> None:
        if self.log.lag_bytes() <= self._half_bytes:
            self._waits = False
            self.log.on_progress = None
            self._body.resume()

    def _readers_changed(self) -> None:
        if self._waits:
            self._go_on()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self.log.readers or self.log.ended:
            return
        if self._policy.way is OnDisconnect.CANCEL:
            self.cancel()
        elif self._policy.way is OnDisconnect.GRACE:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(self._policy.grace_s, self.cancel)

    def _end(self, error: GatewayError | None) -> None:
        exchange, log = self.exchange, self.log
        reason = EndReason.COMPLETE
        if error is not None:
            exchange.failed(error)
            self._keep([Event(error_event(self._dialect, error, exchange.request_id))])
            reason = end_reason(error)
        if self._patience is not None:
            self._patience.cancel()
        log.on_readers = log.on_progress = None
        log.end(State.COMPLETE if error is None else State.BROKEN)
        self._streams.ended(self)
        exchange.release(reason)


def error_event(dialect: Dialect, error: GatewayError, request_id: str) -> bytes:
    """One whole event that tells an error."""
    if not is_event_stream(dialect.stream_type):
        return sse.event(dialect.error_body(error, request_id))
    return dialect.error_event(error, request_id, b"")
