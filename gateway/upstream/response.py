"""A response of an upstream: its head, and its body on the way to whoever reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.errors import GatewayError
from gateway.upstream.head import ResponseHead

UNREAD_CAP_BYTES = 64 * 1024
"""Body bytes kept while nobody reads the response yet; then reading pauses."""


class Source(Protocol):
    """The connection it comes from."""

    @property
    def silent_s(self) -> float | None:
        """For how long it has brought nothing; None while it is paused."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read on."""

    def fail(self, error: GatewayError) -> None:
        """End the exchange with an error."""

    def abort(self) -> None:
        """Drop the exchange."""


class Tunnel(Protocol):
    """The way back, once the upstream has switched protocols."""

    on_writable: Callable[[bool], None] | None
    """Told when it takes no more for now (False), and when it does again (True)."""

    def send_body(self, data: bytes) -> None:
        """Write."""

    def hang_up(self, data: bytes) -> None:
        """Write the last words, and close."""


class BodySink(Protocol):
    """Where a response body goes. Called from the event loop, in order, without awaiting."""

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""

    def finish(self, error: GatewayError | None) -> None:
        """The body is complete, or will never be."""


class UpstreamResponse:
    """A response whose head has arrived. Its body waits here until a sink is attached."""

    __slots__ = (
        "_changed",
        "_sink",
        "_source",
        "complete",
        "error",
        "head",
        "tunnel",
        "unread",
        "unread_bytes",
    )

    def __init__(self, head: ResponseHead, source: Source) -> None:
        self.head = head
        self.unread: list[bytes] = []
        self.unread_bytes = 0
        self.complete = False
        self.error: GatewayError | None = None
        self._sink: BodySink | None = None
        self._changed: asyncio.Future[None] | None = None
        self._source: Source | None = source
        self.tunnel: Tunnel | None = None
        """Where the protocol was switched: the body is what comes by the new one."""

    @property
    def silent_s(self) -> float | None:
        """For how many seconds the upstream has sent nothing of it; None once it is over, and
        while it is paused, when silence is nobody's fault.
        """
        return None if self._source is None else self._source.silent_s

    def take_unread(self) -> bytes:
        """What has arrived so far; it is the caller's now."""
        unread = self.unread
        data = unread[0] if len(unread) == 1 else b"".join(unread)
        self.unread = []
        self.unread_bytes = 0
        return data

    async def begun(self) -> None:
        """Wait for the first byte of the body, or for its end. Raise what broke it off before."""
        while not self.unread and not self.complete:
            await self._change()

    async def held(self, cap_bytes: int) -> bytes | None:
        """Wait for the whole body, which stays unread; None if it is larger or broke off."""
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
        """Send what arrives from now on to `sink`. Take the unread bytes first."""
        self._sink = sink
        self.resume()

    def pause(self) -> None:
        """Stop reading from the upstream: the reader is behind."""
        if self._source is not None:
            self._source.pause()

    def resume(self) -> None:
        """Read on."""
        if self._source is not None:
            self._source.resume()

    def fail(self, error: GatewayError) -> None:
        """End it with an error, unless it has ended."""
        if self._source is not None:
            self._source.fail(error)

    def abort(self) -> None:
        """Close the upstream connection unless the response is complete."""
        source, self._source, self._sink = self._source, None, None
        if source is not None:
            source.abort()

    # What follows is for the connection.

    def feed(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.feed(data)
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
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.finish(error)
        elif self._changed is not None:
            self._notify()
