"""A generation: writes one upstream's stream into a log, independent of its readers.

It owns the exchange that began it. While it runs, the exchange occupies its limits, its endpoint
and its place among the open requests, even if the client has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway import sse
from gateway.dialects import Dialect
from gateway.errors import (
    NOBODY_READS,
    GatewayError,
    ResumeUnavailable,
    StreamCancelled,
    UpstreamInvalidResponse,
)
from gateway.exchange import Exchange
from gateway.outcome import EndReason
from gateway.proxy.response_body import ResponseBody, end_reason
from gateway.resume.ids import numbered, numbered_events
from gateway.resume.log import StreamLog, StreamState
from gateway.resume.policy import OnDisconnect, Policy
from gateway.resume.streams import Streams
from gateway.sse import Event, EventSplitter, EventTooLarge, is_event_stream

_RUNNING = StreamState.RUNNING  # a member of an enum is found by a slow path


class Generation:
    """Fill a log until the stream ends, is cancelled, or has had no reader for too long."""

    __slots__ = (
        "_body",
        "_dialect",
        "_grace_timer",
        "_half_bytes",
        "_look",
        "_paused",
        "_policy",
        "_splitter",
        "_streams",
        "exchange",
        "log",
        "on_begun",
    )

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
        """Called once, with the first event."""
        self._streams = streams
        self._body = body
        self._look = body.look
        self._dialect = dialect
        self._policy = policy
        self._splitter = EventSplitter()
        self._grace_timer: asyncio.TimerHandle | None = None
        self._half_bytes = log.cap_bytes // 2
        self._paused = False

    def start(self) -> None:
        """Start: take the body bytes already buffered, then all that follow."""
        self.log.on_readers = self._readers_changed
        self.exchange.detach(self)
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

    # The upstream connection calls the next two methods from its data_received.

    def feed(self, data: bytes) -> None:
        """Add the events that are now complete to the log. Called for every piece of the stream."""
        if self.log.state is not _RUNNING:
            return
        look = self._look
        if look is not None and not (data := look(data)):
            return
        exchange = self.exchange
        if not exchange.bytes_out:
            exchange.begun()
        exchange.bytes_out += len(data)
        log = self.log
        plain = self._splitter.plain(data)
        if plain:
            log.append(numbered_events(plain, log.prefix, log.last + 1))
        elif plain is None:
            try:
                self._keep(self._splitter.feed(data))
            except EventTooLarge as exc:
                self._keep(exc.events)
                self._body.abort()
                self._end(UpstreamInvalidResponse(str(exc)))
                return
        if self.on_begun is not None and log.last:
            self.on_begun(log.pieces(log.first - 1, 1)[0])
            self.on_begun = None
        log.wake()
        if log.size_bytes > self._half_bytes and not self._paused:
            self._wait_for_readers()
        if self._streams.sharing is not None:
            self._streams.sharing.grown(log)

    def finish(self, error: GatewayError | None) -> None:
        """End of the upstream's stream: complete if `error` is None, else broken off."""
        if self.log.ended or (error is not None and self._body.goes_on(error, self)):
            return
        if rest := self._body.rest():
            self._look = None
            self.feed(rest)
        # An incomplete event left in the splitter is dropped (WHATWG HTML section 9.2.6).
        if not self.log.ended:
            self._end(error)

    @property
    def outlives_a_reader(self) -> bool:
        """True if the generation continues, at least for a while, when one reader leaves now."""
        return self._policy.way is not OnDisconnect.CANCEL or len(self.log.readers) > 1

    # -- ended by others -----------------------------------------------------------------------

    def fail(self, error: GatewayError) -> None:
        """End the generation now. Its readers receive the error."""
        if not self.log.ended:
            self._body.abort()
            self._end(error)

    def cancel(self) -> None:
        """Cancel the generation."""
        self.fail(StreamCancelled())

    def superseded(self) -> None:
        """End the generation without a trace: another process continues it, and accounts for it.
        Readers here may ask again.
        """
        log = self.log
        if log.ended:
            return
        self._body.abort()
        if self._grace_timer is not None:
            self._grace_timer.cancel()
        log.on_readers = log.on_progress = None
        self._release(EndReason.UPSTREAM_RESET, stored=False)

    def _release(self, reason: EndReason, *, stored: bool) -> None:
        """End the exchange. `stored`: the end of the stream is stored, or the store is away."""
        exchange = self.exchange
        if not stored:
            exchange.failed(ResumeUnavailable())
            reason = EndReason.UPSTREAM_RESET
        exchange.release(reason, superseded=not stored)

    def client_left(self) -> None:
        """Handle the departure of the client that began it, which may never have read anything."""
        self._readers_changed()

    # -- private -----------------------------------------------------------------------------

    def _keep(self, events: list[Event]) -> None:
        log = self.log
        for event in events:
            kept = numbered(event, b"%b%d" % (log.prefix, log.last + 1))
            if kept is not None:
                log.append((kept,))

    def _wait_for_readers(self) -> None:
        """Pause the upstream while all readers lag, so that the log keeps the events they lack."""
        if self.log.lag_bytes() > self._half_bytes:
            self._paused = True
            self._body.pause()
            self.log.on_progress = self._resume_if_read

    def _resume_if_read(self) -> None:
        if self.log.lag_bytes() <= self._half_bytes:
            self._paused = False
            self.log.on_progress = None
            self._body.resume()

    def _readers_changed(self) -> None:
        if self._paused:
            self._resume_if_read()
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None
        if self.log.readers or self.log.ended:
            return
        if self._policy.way is OnDisconnect.CANCEL:
            self._abandon()
        elif self._policy.way is OnDisconnect.GRACE:
            loop = asyncio.get_running_loop()
            self._grace_timer = loop.call_later(self._policy.grace_s, self._abandon)

    def _abandon(self) -> None:
        self.fail(StreamCancelled(reason=NOBODY_READS))

    def _end(self, error: GatewayError | None) -> None:
        exchange, log = self.exchange, self.log
        reason = EndReason.COMPLETE
        if error is not None:
            exchange.failed(error)
            self._keep([Event(error_event(self._dialect, error, exchange.request_id))])
            reason = end_reason(error)
        if self._grace_timer is not None:
            self._grace_timer.cancel()
        log.on_readers = log.on_progress = None
        log.end(StreamState.COMPLETE if error is None else StreamState.BROKEN)
        self._streams.ended(log)
        if log.shown < log.last:
            # Until its end is stored, another process may take the answer over, and its usage.
            log.on_settled = lambda stored: self._release(reason, stored=stored)
        else:
            exchange.release(reason)


def error_event(dialect: Dialect, error: GatewayError, request_id: str) -> bytes:
    """Return a complete event that reports an error."""
    if not is_event_stream(dialect.stream_type):
        return sse.event(dialect.error_body(error, request_id))
    return dialect.error_event(error, request_id, b"")
