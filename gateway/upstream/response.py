"""An upstream's response: its head, and its body on the way to a reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.errors import GatewayError
from gateway.upstream.head import ResponseHead

UNREAD_CAP_BYTES = 64 * 1024
"""Body bytes that are buffered before a reader is attached. Beyond that, reading pauses."""


class ResponseSource(Protocol):
    """The connection from which a response comes."""

    @property
    def silent_s(self) -> float | None:
        """Seconds since the last bytes arrived; None while reading is paused."""

    def pause(self) -> None:
        """Pause reading from the connection."""

    def resume(self) -> None:
        """Resume reading after a pause."""

    def fail(self, error: GatewayError) -> None:
        """End the exchange with an error."""

    def abort(self) -> None:
        """Close the connection without waiting for the rest of the response."""


class Tunnel(Protocol):
    """The write direction of a connection after the upstream has switched protocols."""

    on_writable: Callable[[bool], None] | None
    """Called with False when the write buffer is full, and with True when there is room again."""

    def send_body(self, data: bytes) -> None:
        """Write data to the upstream."""

    def hang_up(self, data: bytes) -> None:
        """Write the last data, and close."""


class BodySink(Protocol):
    """The consumer of a response body. The event loop calls it in order, without awaiting."""

    def feed(self, data: bytes) -> None:
        """Consume the next bytes of the body."""

    def finish(self, error: GatewayError | None) -> None:
        """End of the body: complete if `error` is None, else broken off."""


class UpstreamResponse:
    """A response whose head has arrived. The body is buffered here until a sink is attached."""

    __slots__ = (
        "_changed",
        "_paused",
        "_sink",
        "_source",
        "complete",
        "ending",
        "error",
        "head",
        "sink_feed",
        "tunnel",
        "unread",
        "unread_bytes",
    )

    def __init__(
        self, head: ResponseHead, source: ResponseSource | None, whole: bytes | None = None
    ) -> None:
        """`source` is None for a response that is complete before it is read. `whole` is the body
        if it has arrived.
        """
        self.head = head
        self.unread: list[bytes] = [whole] if whole else []
        self.unread_bytes = len(whole) if whole else 0
        self.complete = whole is not None
        self.error: GatewayError | None = None
        self.ending = b""
        """Last two pieces of a body of unknown length, as the backend sent them; set at its end."""
        self._sink: BodySink | None = None
        self.sink_feed: Callable[[bytes], None] | None = None
        """`feed` of the sink, if one is attached: the connection calls it directly, which saves a
        call for each event.
        """
        self._changed: asyncio.Future[None] | None = None
        self._paused = False
        """True while reading from the source is paused."""
        self._source = source
        self.tunnel: Tunnel | None = None
        """Set if the protocol was switched. The body is then the data of the new protocol."""

    @property
    def silent_s(self) -> float | None:
        """Seconds since the upstream last sent data of this response. None after its end, and while
        reading is paused, because the upstream is then not the cause of the silence.
        """
        return None if self._source is None else self._source.silent_s

    def take_unread(self) -> bytes:
        """Return the buffered body bytes and clear the buffer."""
        unread = self.unread
        self.unread_bytes = 0
        if len(unread) == 1:
            return unread.pop()
        data = b"".join(unread)
        unread.clear()
        return data

    async def begun(self) -> None:
        """Wait for the body's first byte or its end. Raise the error if it breaks off before."""
        while not self.unread and not self.complete:
            await self._change()

    async def held(self, cap_bytes: int) -> bytes | None:
        """Wait for the whole body and return it, without taking it from the buffer.

        Return None if the body is larger than `cap_bytes` or breaks off.
        """
        while not self.complete:
            if self.unread_bytes > cap_bytes or self.error is not None:
                return None
            await self._change()
        return b"".join(self.unread)

    async def _change(self) -> None:
        if self.error is not None:
            raise self.error
        self._changed = asyncio.get_running_loop().create_future()
        try:
            await self._changed
        finally:
            self._changed = None

    def _notify(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def attach(self, sink: BodySink) -> None:
        """Send the data that arrives from now on to `sink`. Call `take_unread` first."""
        self._sink = sink
        self.sink_feed = sink.feed
        if self._paused:
            self.resume()

    def read_into(self, sink: BodySink) -> None:
        """Give the whole body to `sink`: what is buffered, and what arrives from now on."""
        if self.unread:
            sink.feed(self.take_unread())
        if self.complete or self.error is not None:
            sink.finish(self.error)
        else:
            self.attach(sink)

    def pause(self) -> None:
        """Pause reading from the upstream, because the reader is slower."""
        self._paused = True
        if self._source is not None:
            self._source.pause()

    def resume(self) -> None:
        """Resume reading after a pause."""
        self._paused = False
        if self._source is not None:
            self._source.resume()

    def fail(self, error: GatewayError) -> None:
        """End the response with an error, unless it has ended."""
        if self._source is not None:
            self._source.fail(error)

    def abort(self) -> None:
        """Close the upstream connection, unless the response is complete."""
        source, self._source = self._source, None
        self._sink = self.sink_feed = None
        if source is not None:
            source.abort()

    # The methods below are for the connection.

    def feed(self, data: bytes) -> None:
        if self.sink_feed is not None:
            self.sink_feed(data)
            return
        self.unread.append(data)
        self.unread_bytes += len(data)
        if self._changed is not None:
            self._notify()
        if self.unread_bytes > UNREAD_CAP_BYTES:
            self.pause()

    def finish(self, error: GatewayError | None) -> None:
        if self.complete or self.error is not None:
            return
        self.complete = error is None
        self.error = error
        self._source = None
        sink, self._sink, self.sink_feed = self._sink, None, None
        if sink is not None:
            sink.finish(error)
        elif self._changed is not None:
            self._notify()
