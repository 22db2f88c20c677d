"""One request as it arrived: its head, its body, and the client connection it came on."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp.hdrs import CONTENT_LENGTH
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDictProxy

from gateway.client_connection import ClientConnection
from gateway.exchange import Exchange


class Request:
    """One request with its connection. Its facts and its outcome are in its exchange.

    aiohttp's own request object costs three microseconds, so it is made for plug-ins only.
    """

    __slots__ = ("client", "content", "exchange", "headers", "message", "method", "received")

    def __init__(
        self,
        message: RawRequestMessage,
        content: StreamReader,
        client: ClientConnection,
        exchange: Exchange,
    ) -> None:
        self.message = message
        """Parsed head."""
        self.method = message.method
        self.headers: CIMultiDictProxy[str] = message.headers
        self.content = content
        """Body, as it arrives."""
        self.client = client
        self.exchange = exchange
        self.received: bytes | None = None
        """Whole body, once it was read."""

    @property
    def raw_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Header fields as they arrived."""
        return self.message.raw_headers

    @property
    def body_exists(self) -> bool:
        """True if the head announces a body."""
        return self.content is not EMPTY_PAYLOAD

    @property
    def content_length(self) -> int | None:
        """Content-Length in bytes; None if the head has none."""
        length = self.headers.get(CONTENT_LENGTH)
        return None if length is None else int(length)
