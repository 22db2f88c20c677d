"""A response that reads a kept stream: the events so far, then new ones as they arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from multidict import CIMultiDict

from gateway.client_response import EventStreamResponse
from gateway.dialects import Dialect
from gateway.dialects.first_token import FirstToken
from gateway.errors import (
    CredentialExpired,
    GatewayError,
    StreamExpired,
    StreamLost,
    StreamTrimmed,
)
from gateway.exchange import Exchange
from gateway.heartbeat import Heartbeats
from gateway.proxy.event_batch import BatchOptions, EventBatch
from gateway.proxy.response_body import end_reason
from gateway.request import Request
from gateway.response_head import STREAM_ID
from gateway.response_writer import BodyEncoder, ResponseWriter
from gateway.resume.generation import Generation, error_event
from gateway.resume.log import StreamLog, StreamState, Trimmed

_RECONNECT_MS = 1000
_RUNNING = StreamState.RUNNING  # a member of an enum is found by a slow path


class Replay(EventStreamResponse):
    """Response with the events after a given one.

    A slow reader receives the accumulated events in one write and delays nobody. A reader that
    needs events already dropped receives an error.
    """

    __slots__ = (
        "_batch",
        "_batch_options",
        "_dialect",
        "_encoder",
        "_exchange",
        "_feed",
        "_first_token",
        "_generation",
        "_heartbeats",
        "_preface",
        "_stream",
        "after",
        "log",
    )

    def __init__(
        self,
        log: StreamLog,
        after: int,
        exchange: Exchange,
        dialect: Dialect,
        *,
        headers: CIMultiDict[str] | None = None,
        generation: Generation | None = None,
        heartbeats: Heartbeats | None = None,
        preface: bytes = b"",
        batch: BatchOptions | None = None,
    ) -> None:
        """`generation` is set if this exchange began it, and `headers` are then its upstream's.
        `heartbeats` send comments during silence. `preface` is sent before the events.
        `batch` is set on a route that gathers events.
        """
        super().__init__(headers)
        self.log = log
        self.after = after
        """Number of the last event written."""
        self._exchange = exchange
        self._dialect = dialect
        self._generation = generation
        self._first_token: FirstToken | None = None
        if generation is None:  # a generation sets these itself
            exchange.streamed = True
            self._first_token = FirstToken(False)
        self._heartbeats = heartbeats
        self._preface = preface
        self._batch_options = batch
        self._batch: EventBatch | None = None
        self._encoder: BodyEncoder | None = None
        self._stream: ResponseWriter | None = None
        """Writer of the events while the stream is followed."""
        self._feed: Callable[[bytes], object] | None = None
        """Function that writes events, while the stream is followed."""
        self.headers[STREAM_ID] = log.id

    @property
    def joins(self) -> bool:
        """True: the events can continue an event stream whose head was sent before."""
        return True

    def compress(self, encoder: BodyEncoder) -> None:
        """Send the events through this encoder, which is this reader's own: the log keeps them
        plain. The caller adapts the headers.
        """
        self._encoder = encoder

    def start(self, request: Request) -> None:
        """Send the head and the events so far, then follow the stream."""
        client, exchange = self._begin(request), self._exchange
        self._stream = stream = client.make_writer(client, exchange, self, True, self._encoder)
        stream.counted = 0
        feed = self._count if self._generation is None else stream.events
        if self._batch_options is not None:
            self._batch = EventBatch(
                self._batch_options, exchange, stream, feed, asyncio.get_running_loop()
            )
            feed = self._batch.feed
        self._feed = feed
        if exchange.answered(self.status):
            stream.begin(self, self._preface)
        stream.follow(self._heartbeats)
        self.log.join(self)
        self.wake()

    def left(self) -> None:
        """Stop following: the client has left, or the response has ended."""
        self.over = True
        stream, self._stream = self._stream, None
        self._feed = None  # it may refer to this object
        if self._batch is not None:
            self._batch.close()
        if stream is not None:
            stream.close()
            self.log.leave(self)

    # The log calls `wake` for every event.

    def wake(self) -> None:
        """Write the new events, unless the client lags."""
        stream, feed, log = self._stream, self._feed, self.log
        if stream is None or feed is None or stream.is_closing():
            return
        while not stream.behind:
            try:
                data, self.after = log.read(self.after)
            except Trimmed:
                self._break_off(StreamTrimmed())
                return
            if data:
                feed(data)
            if self.after < log.last:
                if self.after >= log.shown:
                    return  # the newest events are not stored yet
                continue
            if log.state is not _RUNNING:
                self._read_all(log)
            return

    # The writer calls the next methods.

    def caught_up(self) -> None:
        """Continue writing: the client has caught up."""
        super().caught_up()
        if self.log.on_progress is not None:
            self.log.on_progress()

    def fail(self, error: GatewayError) -> None:
        """End the response, and its generation too if the error concerns it."""
        if self._stream is not None:
            self._stream.behind = False
        generation = self._generation
        if generation is None or self.log.ended:
            self._break_off(error)
        elif isinstance(error, (CredentialExpired, StreamExpired)) and generation.outlives_a_reader:
            # The owner may reconnect, with a fresh credential.
            self._break_off(error)
        else:
            generation.fail(error)

    # -- private -----------------------------------------------------------------------------

    def _read_all(self, log: StreamLog) -> None:
        """End the response as the stream has ended."""
        if log.state is StreamState.LOST:
            self._break_off(log.error or StreamLost())
        else:
            # The last event of a broken stream has reported the error.
            self._end(None if log.state is StreamState.COMPLETE else b"")

    def _count(self, data: bytes) -> None:
        """Write events of a stream that another exchange has begun, which counts its own bytes."""
        exchange, stream = self._exchange, self._stream
        assert stream is not None
        if not exchange.bytes_out:
            exchange.begun()
        if self._first_token is not None and self._first_token.feed(data):
            self._first_token = None
            exchange.first_token_at = time.perf_counter()
        exchange.bytes_out += stream.events(data)

    def _break_off(self, error: GatewayError) -> None:
        """End with an event without a number, since it concerns this reader and not the stream."""
        exchange = self._exchange
        if exchange.detached_owner is None:
            exchange.failed(error)
            exchange.release(end_reason(error))
        event = error_event(self._dialect, error, exchange.request_id)
        self._end(b"retry: %d\n%b" % (_RECONNECT_MS, event))

    def _end(self, event: bytes | None) -> None:
        """End the response. `event` is as for `ResponseWriter.end`."""
        if event is not None:
            self.keep_alive = False
        if self._stream is not None:
            if self._batch is not None:
                self._batch.flush()
            self._stream.end(event)
            self.left()
            self._complete()
