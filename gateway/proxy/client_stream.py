"""Writer of a response to a client over HTTP/1.1: see `gateway/response_writer.py`.

It owns what is the same for every body that is written as it arrives: when the head is sent,
chunked framing, compression, backpressure, heartbeats, the probe for a dead client, and the end. A
body ends in exactly one way: complete; with one error event and no last chunk; or cut off.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.client_connection import ClientConnection
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.heartbeat import COMMENT, Heartbeat, Heartbeats
from gateway.http.chunks import LAST_CHUNK, SIZE_LINES, SMALL_BYTES, chunk
from gateway.outcome import Commit
from gateway.proxy.preface import WithoutBom, without_bom
from gateway.response_writer import BodyEncoder, BodySource, SentHead
from gateway.sse import TAIL_BYTES, between_events

_WAITING_CAP_BYTES = 32 * 1024
"""Bytes that may wait in memory for a slow client before the source is paused."""
_COPY_CAP_BYTES = 16 * 1024
"""Up to this size, a copy is cheaper than three buffers in one write."""


class ClientStream(Heartbeat):
    """Writer of one body. The connection of the client tells it when to pause."""

    __slots__ = (
        "_attached",
        "_client",
        "_encoder",
        "_exchange",
        "_waiting",
        "_waiting_bytes",
        "_without_bom",
        "behind",
        "chunked",
        "counted",
        "look",
        "over",
        "plain",
        "source",
        "tail",
        "transport",
    )

    def __init__(
        self,
        client: ClientConnection,
        exchange: Exchange,
        source: BodySource | None,
        chunked: bool = True,
        encoder: BodyEncoder | None = None,
    ) -> None:
        assert client.transport is not None
        self.transport = client.transport
        self.chunked = chunked
        self.plain = chunked and encoder is None
        """True if pieces are only framed before they are written."""
        self.source = source
        """Source that may be paused; None after the end."""
        self._client = client
        self._exchange = exchange
        self._encoder = encoder
        self.slot = None
        self.look: Callable[[bytes], bytes] | None = None
        """Function that inspects each piece and returns the part to send."""
        self.behind = False
        """True while the client reads too slowly."""
        self.over = False
        """True once nothing more will be written."""
        self.counted: int | None = None
        """Bytes written by `events`, for a source that counts what it writes itself."""
        self.tail = b""
        """Last bytes of the body, at least as many as `between_events` needs."""
        self._without_bom: WithoutBom | None = None
        self._waiting: list[bytes] | None = None
        """Pieces that arrived while the client was behind."""
        self._waiting_bytes = 0
        self._attached = False

    def begin(
        self,
        head: SentHead | None,
        preface: bytes = b"",
        data: bytes = b"",
        rest: Callable[[], bytes] | None = None,
    ) -> None:
        """Write the head and what there is of the body, in one write."""
        if head is None:
            self.strip_bom()
            out = b""
        else:
            out = head.http_bytes(chunked=self.chunked)
            if preface and self.chunked:
                out += self._own(preface)
        if data:
            out += self._first(data)
        if rest is not None:
            self.look = None
            last = rest()
            if self._without_bom is not None:
                last = self._without_bom.last(last)
            if last:
                out += self._own(last)
            out += self._last_chunk()
        self.transport.write(out)

    def stop_looking(self) -> None:
        """Pass on the rest of the body uninspected."""
        if self._without_bom is None:
            self.look = None

    def follow(self, heartbeats: Heartbeats | None) -> None:
        """Have the client's connection tell when to pause. Call this once the head is written."""
        self._attached = True
        self._client.attach(self)
        if heartbeats is not None:
            heartbeats.watch(self)

    def close(self) -> None:
        """Stop writing: the body has ended, or the client has left."""
        self.over = True
        # They refer to this object; only the garbage collector would free all of them.
        self.source = self.look = None
        slot = self.slot
        if slot is not None:
            slot.discard(self)  # as `stop_beating` does
            self.slot = None
        if self._attached:
            self._attached = False
            self._client.detach()

    # -- for the source ------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Inspect and write a piece that has just arrived. Runs for every event: keep it small."""
        transport = self.transport
        is_closing = transport.is_closing  # a function in a slot, see `answered` of FirstAttempt
        if is_closing():
            return  # the client has left; its connection reports that in the next turn of the loop
        look = self.look
        if look is not None and not (data := look(data)):
            return
        size = len(data)
        self.tail = data if size > 2 else (self.tail + data)[-TAIL_BYTES:]
        if self.plain and size < SMALL_BYTES:
            transport.write(b"".join((SIZE_LINES[size], data, b"\r\n")))  # as `chunk` does
        elif self.behind:
            self._wait(data)
            return
        else:
            size = self._write(data)
        exchange = self._exchange
        if not exchange.bytes_out:
            exchange.begun()
        exchange.bytes_out += size

    def events(self, data: bytes) -> int:
        """Write complete events that are inspected already. Return their size on the wire, which
        the source counts.
        """
        self.tail = data[-TAIL_BYTES:]
        self.counted = (self.counted or 0) + len(data)
        if self._encoder is not None:
            data = self._encoded(data, self._encoder)
        size = len(data)
        self.transport.write(b"%x\r\n%b\r\n" % (size, data))
        return size

    def framed(self, data: bytes) -> None:
        """Write complete events that are framed already, and counted in the exchange."""
        self.tail = data[-2 - TAIL_BYTES : -2]  # before the line end of the chunk
        self.counted = (self.counted or 0) + len(data)
        self.transport.write(data)

    def comment(self, line: bytes = COMMENT) -> bool:
        """Write a comment, unless the client has unread bytes or an event is incomplete. Return
        True if that was possible.
        """
        transport = self.transport
        if transport.get_write_buffer_size() or not between_events(self.tail):
            return False
        if not transport.is_closing():
            transport.write(self._own(line))
        return True

    def is_closing(self) -> bool:
        """Tell whether the client has left."""
        return self.transport.is_closing()

    def strip_bom(self) -> None:
        """Remove a byte order mark from the body, because other bytes were written before it."""
        if self._without_bom is None:
            # `look` refers to a function, and not to a method: that would be a reference cycle.
            self._without_bom, self.look = without_bom(self.look)

    def rest(self, data: bytes) -> None:
        """Write the last bytes of the body, which filters held back."""
        self.look = None
        if self._without_bom is not None:
            data = self._without_bom.last(data)
        if data:
            self.feed(data)

    def end(self, event: bytes | None = None) -> None:
        """End the body, once. It is complete if `event` is None. Otherwise it breaks off with this
        error event, or without one if the event is empty.
        """
        if self.over:
            return
        if self.behind:
            self._write_waiting()
        last = b""
        if self.chunked and not self.transport.is_closing():
            if event:
                last = self._own(event)
            elif event is None:
                last = self._last_chunk()
        self.close()
        if last:
            self.transport.write(last)

    # -- for the client's connection -----------------------------------------------------

    @property
    def is_stream(self) -> bool:
        """True if this is an event stream."""
        return self._exchange.streamed or self._exchange.commit is Commit.EARLY

    def pause(self) -> None:
        """Note that the client reads too slowly."""
        self.behind, self.plain = True, False
        self._hold_source()

    def resume(self) -> None:
        """Write the waiting bytes: the client has caught up."""
        self._write_waiting()
        if not self.behind and self.source is not None:
            self.source.caught_up()

    def fail(self, error: GatewayError) -> None:
        """End the body with an error that its source did not cause."""
        if self.source is not None:
            self.source.fail(error)

    def probe(self) -> bool:
        """Write the first digit of the next chunk's size, to detect a dead client. Return False if
        that is not possible.

        A chunk size may begin with zeros (RFC 9112 section 7.1), so a live client sees no
        difference, and a dead one resets the connection.
        """
        probing = self.chunked and not self.over and not self.transport.is_closing()
        if probing:
            self.transport.write(b"0")
        return probing

    # -- for the heartbeats --------------------------------------------------------------

    def written(self) -> int:
        return self._exchange.bytes_out if self.counted is None else self.counted

    def beat(self) -> bool:
        return self.comment()

    # -- private -------------------------------------------------------------------------

    def _first(self, data: bytes) -> bytes:
        """Inspect and count the first piece of the body, and return it framed."""
        look = self.look
        if look is not None and not (data := look(data)):
            return b""
        exchange = self._exchange
        exchange.begun()
        self.tail = data[-TAIL_BYTES:]
        if self._encoder is not None:
            data = self._encoded(data, self._encoder)
        exchange.bytes_out = len(data)
        return chunk(data) if self.chunked else data

    def _own(self, data: bytes) -> bytes:
        """Return a chunk with bytes of the gateway's own."""
        if not self.tail:
            self.strip_bom()
        if self._encoder is not None:
            data = self._encoder.feed(data)
        return chunk(data) if data else b""

    def _last_chunk(self) -> bytes:
        """Return the bytes that complete the body."""
        if self._encoder is None:
            return LAST_CHUNK
        return chunk(self._encoder.finish()) + LAST_CHUNK

    def _write(self, data: bytes) -> int:
        """Encode and write a piece. Return its size on the wire."""
        if self._encoder is not None:
            data = self._encoded(data, self._encoder)
        size = len(data)
        if not self.chunked:
            self.transport.write(data)
        elif size <= _COPY_CAP_BYTES:
            self.transport.write(chunk(data))
        else:
            self.transport.writelines((b"%x\r\n" % size, data, b"\r\n"))
        return size

    def _encoded(self, data: bytes, encoder: BodyEncoder) -> bytes:
        encoded = encoder.feed(data)
        self._exchange.bytes_saved += len(data) - len(encoded)
        return encoded

    def _wait(self, data: bytes) -> None:
        """Keep a piece until the client has caught up. It is then written together with those that
        follow it.
        """
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._hold_source()

    def _hold_source(self) -> None:
        """Pause the source if too many bytes wait."""
        waiting_bytes = self.transport.get_write_buffer_size() + self._waiting_bytes
        if waiting_bytes > _WAITING_CAP_BYTES and self.source is not None:
            self.source.pause()

    def _write_waiting(self) -> None:
        self.behind, self.plain = False, self.chunked and self._encoder is None
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting = None
            self._waiting_bytes = 0
            look, self.look = self.look, None  # the bytes were inspected when they arrived
            self.feed(data)
            self.look = look
