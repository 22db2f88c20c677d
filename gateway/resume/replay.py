"""A response that reads a kept stream: the events so far, then new ones as they arrive."""

from __future__ import annotations

import asyncio
import time

from multidict import CIMultiDict

from gateway.aiohttp_adaptor import rfc822_formatted_time
from gateway.chunks import LAST_CHUNK, chunk
from gateway.client_response import ClientResponse
from gateway.dialects import Dialect
from gateway.dialects.first_token import FirstToken
from gateway.errors import CredentialExpired, GatewayError, StreamLost, StreamTrimmed
from gateway.exchange import Commit, Exchange
from gateway.headers import checked_lines
from gateway.proxy.heartbeat import COMMENT, Heartbeat, Heartbeats
from gateway.proxy.response_body import end_reason
from gateway.request import Request
from gateway.resume.generation import Generation, error_event
from gateway.resume.log import State, StreamLog, Trimmed
from gateway.sse import EVENT_STREAM

STREAM_ID = "X-Stream-Id"
_RECONNECT_MS = 1000


class Replay(ClientResponse):
    """Response with the events after a given one.

    A slow reader receives the accumulated events in one write and delays nobody. A reader that
    needs events already dropped receives an error.
    """

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
    ) -> None:
        """`generation` is set if this exchange began it, and `headers` are then its upstream's.
        `heartbeats` send comments during silence. `preface` is sent before the events.
        """
        super().__init__(headers=headers or _own_headers())
        self.log = log
        self.after = after
        """Number of the last event written."""
        self._exchange = exchange
        self._dialect = dialect
        self._generation = generation
        self._first_token: FirstToken | None = None
        if generation is None:  # a generation sets these itself
            exchange.streamed = True
            self._first_token = FirstToken(lines=False)
        self._behind = False
        self._heartbeats = heartbeats
        self._heartbeat: Heartbeat | None = None
        self._preface = preface
        self._transport: asyncio.Transport
        self._follows = False
        self.headers[STREAM_ID] = log.id

    @property
    def joins(self) -> bool:
        """True: the events can continue an event stream whose head was sent before."""
        return True

    @property
    def is_stream(self) -> bool:
        return True

    def start(self, request: Request) -> None:
        """Send the head and the events so far, then follow the stream."""
        self._transport = self._begin(request)
        self._exchange.status = self.status
        self._follows = True
        if self._exchange.commit is not Commit.EARLY:
            self._exchange.commit = Commit.ANSWERED
            head = self._head()
            if self._preface:
                head += chunk(self._preface)
            self._transport.write(head)
        request.client.attach(self)
        if self._heartbeats is not None:
            self._heartbeat = self._heartbeats.watch(lambda: self.after, self._beat)
        self.log.join(self)
        self.wake()

    def left(self) -> None:
        """Stop following: the client has left, or the response has ended."""
        self.over = True
        if self._follows:
            self._follows = False
            if self._heartbeat is not None:
                self._heartbeat.close()
            self.log.leave(self)
            assert self._client is not None
            self._client.detach()

    # The log calls `wake` for every event.

    def wake(self) -> None:
        """Write the new events, unless the client lags."""
        if self._is_over or self._transport.is_closing():
            return
        log, transport = self.log, self._transport
        while not self._behind:
            try:
                data, self.after = log.read(self.after)
            except Trimmed:
                self._break_off(StreamTrimmed())
                return
            if data:
                self._count(data)
                transport.write(chunk(data))
            if self.after >= log.last:
                if log.ended:
                    self._finish()
                return

    def _beat(self) -> bool:
        """Send a heartbeat. This is safe because only whole events are written."""
        transport = self._transport
        if self._behind or transport.get_write_buffer_size() or transport.is_closing():
            return False
        transport.write(chunk(COMMENT))
        return True

    # The client's connection calls the next four methods.

    def pause(self) -> None:
        """Stop writing: the client lags."""
        self._behind = True

    def resume(self) -> None:
        """Continue writing: the client has caught up."""
        self._behind = False
        self.wake()
        if self.log.on_progress is not None:
            self.log.on_progress()

    def fail(self, error: GatewayError) -> None:
        """End the response, and its generation too if the error concerns it."""
        if self._is_over:
            return  # all is written, though the client's connection is still attached
        self._behind = False
        generation = self._generation
        if generation is None or self.log.ended:
            self._break_off(error)
        elif isinstance(error, CredentialExpired) and generation.outlives_a_reader:
            # The owner may reconnect with a fresh credential.
            self._break_off(error)
        else:
            generation.fail(error)

    def probe(self) -> bool:
        """Test the connection as the relay does, with a zero before the next chunk's size."""
        probing = not self._is_over and not self._transport.is_closing()
        if probing:
            self._transport.write(b"0")
        return probing

    # -- private -----------------------------------------------------------------------------

    @property
    def _is_over(self) -> bool:
        return not self._follows

    def _head(self) -> bytes:
        self.headers.setdefault("Date", rfc822_formatted_time())
        fields = checked_lines(self.headers.items())
        head = b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n" % fields
        return head + (b"\r\n" if self.keep_alive else b"Connection: close\r\n\r\n")

    def _count(self, data: bytes) -> None:
        exchange = self._exchange
        if self._generation is not None:
            return  # the generation counts its own bytes
        if not exchange.bytes_out:
            exchange.begun()
        if self._first_token is not None and self._first_token.feed(data):
            self._first_token = None
            exchange.first_token_at = time.perf_counter()
        exchange.bytes_out += len(data)

    def _finish(self) -> None:
        log = self.log
        if log.state is State.LOST:
            self._break_off(log.error or StreamLost())
            return
        if log.state is State.COMPLETE:
            self._transport.write(LAST_CHUNK)
        else:
            self.keep_alive = False  # the last event reported the error; there is no last chunk
        self._over()

    def _break_off(self, error: GatewayError) -> None:
        """End with an event without a number, since it concerns this reader and not the stream."""
        exchange = self._exchange
        if exchange.keeper is None:
            exchange.failed(error)
            exchange.release(end_reason(error))
        self.keep_alive = False
        if not self._transport.is_closing():
            event = error_event(self._dialect, error, exchange.request_id)
            event = b"retry: %d\n%b" % (_RECONNECT_MS, event)
            self._transport.write(chunk(event))
        self._over()

    def _over(self) -> None:
        if self._follows:
            self.left()
            self._complete()


def _own_headers() -> CIMultiDict[str]:
    return CIMultiDict(
        {
            "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
