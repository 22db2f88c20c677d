"""Interface of a dialect, the API format of one client family. Values in, bytes out: no I/O."""

from __future__ import annotations

from typing import Protocol

from gateway.errors import GatewayError


class Dialect(Protocol):
    """Formatting of gateway errors for one client family."""

    name: str
    stream_type: bytes
    """Media type of this dialect's streams. A response of this type can carry an error event."""

    def error_body(self, error: GatewayError, request_id: str) -> bytes:
        """Return the JSON body of an error response."""

    def error_event(self, error: GatewayError, request_id: str, tail: bytes) -> bytes:
        """Return one error event that ends a stream, well-formed whatever was sent before it.

        `tail` holds the last bytes of the stream that were sent: at least `sse.TAIL_BYTES`, or all
        if fewer were sent.
        """

    def passed_error(self, body: bytes) -> bytes | None:
        """Return an upstream's error body, already in this dialect, as one stream event.

        Return None if `body` is no error document.
        """
