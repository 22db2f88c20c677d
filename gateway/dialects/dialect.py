"""The interface every dialect has. Values in, bytes out: no I/O here."""

from __future__ import annotations

from typing import Protocol

from gateway.errors import GatewayError


class Dialect(Protocol):
    """How one family of clients wants to be told things."""

    name: str
    stream_type: bytes
    """The media type of this dialect's streams; an error can be told inside one."""

    def error_body(self, error: GatewayError, request_id: str) -> bytes:
        """The JSON body of an error response."""

    def error_event(self, error: GatewayError, request_id: str, tail: bytes) -> bytes:
        """One error event to end a stream with, well-formed whatever was sent before it.

        `tail` holds the last bytes of the stream that were sent, at least `sse.TAIL_BYTES` if there
        were as many; empty if none were.
        """

    def passed_error(self, body: bytes) -> bytes | None:
        """One error event that says what an upstream's error response of this dialect says; None if
        its body is none.
        """
