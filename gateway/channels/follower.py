"""A response that follows a channel as server-sent events.

A follower has no task and no queue: the channel's fan-out calls `wake`, which writes what the
follower has not seen. While its client lags, nothing is written; the events wait in the history
that all followers share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.channels import notices
from gateway.channels.channel import Channel
from gateway.channels.channels import Channels
from gateway.channels.position import FollowerPosition
from gateway.client_response import EventStreamResponse
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.heartbeat import Heartbeats
from gateway.http.chunks import chunk
from gateway.proxy.client_stream import ClientStream
from gateway.proxy.response_body import end_reason
from gateway.request import Request
from gateway.sse import TAIL_BYTES


def _as_chunk(events: Sequence[bytes]) -> bytes:
    return chunk(b"".join(events))


def _always() -> bool:
    return True


class StreamFollower(EventStreamResponse):
    """Follower that receives server-sent events."""

    def __init__(
        self,
        channels: Channels,
        position: FollowerPosition,
        caller: bytes,
        exchange: Exchange,
        *,
        holds: Callable[[], bool] | None = None,
        heartbeats: Heartbeats | None = None,
        preface: bytes = b"",
    ) -> None:
        """`holds` tells whether the credential is still valid."""
        super().__init__()
        self._channels = channels
        self._channel: Channel = position.channel
        self._position = position
        self._caller = caller
        self._exchange = exchange
        self._holds = holds or _always
        self._heartbeats = heartbeats
        self._preface = preface
        self._stream: ClientStream | None = None
        self._encoded = self._channel.encoded(_as_chunk)
        exchange.streamed = True

    def start(self, request: Request) -> None:
        """Send the head, the position, and the events after it. Then follow the channel."""
        client, exchange = self._begin(request), self._exchange
        # No other writer: all followers share the chunks that it writes.
        self._stream = stream = ClientStream(client, exchange, self)
        exchange.answered(self.status)
        exchange.begun()
        first = self._preface + b"".join(self._position.begin())
        stream.begin(self, first)
        stream.tail, stream.counted = first[-TAIL_BYTES:], 0
        exchange.bytes_out = len(first)
        stream.follow(self._heartbeats)
        self._channels.join(self._channel, self, self._caller)
        self.wake()

    def left(self) -> None:
        """Stop following: the client has left, or the response has ended."""
        self.over = True
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
            self._channels.left(self._channel, self, self._caller)

    # -- the fan-out calls these ----------------------------------------------------------------

    @property
    def validity_holds(self) -> bool:
        """False if the follower's credential was revoked or has expired."""
        return self._holds()

    def wake(self) -> None:
        """Write the events after the follower's position, unless its client lags."""
        stream = self._stream
        if stream is None or stream.is_closing():
            return
        position = self._position
        while not position.is_current:
            if position.is_lost and (not stream.behind or position.is_dropped):
                notice = position.skip(self._channels)
                if isinstance(notice, GatewayError):
                    self.fail(notice)
                    return
                stream.framed(chunk(notice))
                continue
            if stream.behind:
                return
            data, position.after, _ = self._encoded.after(position.after)
            stream.framed(data)
            self._exchange.bytes_out += len(data)
            if not position.is_current:
                # The rest comes in the next round: others must not wait while this one catches up.
                self._channels.fanout.news(self._channel)
            return

    def note(self) -> None:
        """Write the number of followers, unless the client lags."""
        stream = self._stream
        if stream is not None and not stream.behind and not stream.is_closing():
            stream.framed(self._encoded.presence(self._channel.present))

    # -- the writer calls these -----------------------------------------------------------------

    def fail(self, error: GatewayError) -> None:
        """Disconnect the follower, with the error and the delay until it may reconnect."""
        stream = self._stream
        if stream is None:
            return
        self.keep_alive = False
        stream.behind = False
        exchange = self._exchange
        exchange.failed(error)
        stream.end(notices.ended(error, self._channels.retry_ms()))
        self.left()
        exchange.end(end_reason(error))
        self._complete()
