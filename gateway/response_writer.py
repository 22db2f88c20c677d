"""Interface between a response and the writer that sends it to its client.

A response (a relay, a replay, an early head, the last events of a stream) hands over its head and
the bytes of its body. A writer decides how the client gets them. There are two: HTTP
(`gateway/proxy/client_stream.py`) and the messages of a bridge (`gateway/bridge/writer.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.errors import GatewayError
from gateway.heartbeat import Heartbeats


class SentHead(Protocol):
    """Head of a response, in the form that each writer needs."""

    status: int

    def http_bytes(self, *, chunked: bool) -> bytes:
        """Return the head as bytes of HTTP/1.1. `chunked` says how the body is framed."""

    def header_fields(self) -> Mapping[str, str]:
        """Return the fields by name, in any case, without those of the framing."""


class BodySource(Protocol):
    """Source of the bytes of a body."""

    def pause(self) -> None:
        """Pause: too many bytes wait for the client. May be called again while paused."""

    def caught_up(self) -> None:
        """Note that the client reads again, and no byte waits."""

    def fail(self, error: GatewayError) -> None:
        """End the body with an error that the source did not cause."""


class BodyEncoder(Protocol):
    """Streaming encoder of one body."""

    def feed(self, data: bytes) -> bytes:
        """Return all bytes that the client needs to decode the data so far; nothing if `data` is
        empty.
        """

    def finish(self) -> bytes:
        """Return the bytes that end the encoded body."""


class ResponseWriter(Protocol):
    """Writer of one response whose body is written as it arrives.

    The order of calls is `begin`, `follow`, any number of pieces, and `end`. A body ends in exactly
    one way: complete; with one error event; or cut off.
    """

    look: Callable[[bytes], bytes] | None
    """Function that inspects each piece and returns the part to send."""
    behind: bool
    """True while the client reads too slowly."""
    over: bool
    """True once nothing more will be written."""
    counted: int | None
    """Bytes written by `events`, for a source that counts what it writes itself."""
    tail: bytes
    """Last bytes of the body, at least as many as `sse.between_events` needs."""

    def begin(
        self,
        head: SentHead | None,
        preface: bytes = b"",
        data: bytes = b"",
        rest: Callable[[], bytes] | None = None,
    ) -> None:
        """Write the head and what there is of the body, at once.

        Without a head, the body continues a stream whose head was sent before. `preface` are bytes
        of the gateway's own, `data` those of the source. If the body is complete, `rest` returns
        its last bytes, which filters held back until `data` was inspected.
        """

    def stop_looking(self) -> None:
        """Note that `look` need not see the rest of the body."""

    def follow(self, heartbeats: Heartbeats | None) -> None:
        """Have the client's connection tell when to pause. Call this after `begin`."""

    def feed(self, data: bytes) -> None:
        """Inspect and write a piece that has just arrived. Runs for every event."""

    def events(self, data: bytes) -> int:
        """Write complete events that are inspected already. Return their size on the wire."""

    def comment(self, line: bytes) -> bool:
        """Write a comment, unless the client has unread bytes or an event is incomplete. Return
        True if that was possible.
        """

    def rest(self, data: bytes) -> None:
        """Write the last bytes of the body, which filters held back: they are not inspected."""

    def end(self, event: bytes | None = None) -> None:
        """End the body, once. It is complete if `event` is None. Otherwise it breaks off with this
        error event, or without one if the event is empty.
        """

    def close(self) -> None:
        """Stop writing: the body has ended, or the client has left."""

    def is_closing(self) -> bool:
        """Tell whether the client has left."""
