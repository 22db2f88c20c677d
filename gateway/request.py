"""One request as it arrived: its head, its body, and the client connection it came on."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import EMPTY_PAYLOAD, StreamReader
from aiohttp.hdrs import CONTENT_LENGTH
from multidict import CIMultiDictProxy

from gateway.aiohttp_adaptor import RawRequestMessage
from gateway.client_connection import ClientConnection
from gateway.exchange import Exchange
from gateway.known_head import KnownHead


class Request:
    """One request with its connection. Its facts and its outcome are in its exchange.

    aiohttp's own request object costs three microseconds, so it is made for plug-ins only.
    """

    __slots__ = (
        "arrived",
        "body_exists",
        "client",
        "content",
        "content_length",
        "exchange",
        "headers",
        "known",
        "message",
        "received",
    )

    def __init__(
        self,
        message: RawRequestMessage,
        content: StreamReader,
        client: ClientConnection,
        exchange: Exchange,
        known: KnownHead | None = None,
        arrived: bytes | None = None,
    ) -> None:
        """`known`: the head equals one that was parsed before. `arrived` is the whole body; None if
        the body is in `content`.
        """
        self.message = message
        """Parsed head."""
        self.headers: CIMultiDictProxy[str] = message.headers
        """Header fields. Take Content-Length from `content_length`."""
        self.content = content
        """Body, as it arrives."""
        self.client = client
        self.exchange = exchange
        self.known = known
        """Head that the client has sent before on this connection, or may send again."""
        self.arrived = arrived
        """Whole body, if it came with the head and is not in `content`."""
        self.received: bytes | None = None
        """Whole body, once it was read."""
        self.content_length: int | None
        """Content-Length in bytes; None if the head has none."""
        if arrived:
            self.body_exists = True
            self.content_length = len(arrived)
        elif arrived is not None:
            self.body_exists = False
            self.content_length = 0 if CONTENT_LENGTH in message.headers else None
        else:
            self.body_exists = content is not EMPTY_PAYLOAD
            """True if the head announces a body."""
            length = message.headers.get(CONTENT_LENGTH)
            self.content_length = None if length is None else int(length)

    @property
    def method(self) -> str:
        """Method of the request."""
        return self.exchange.method

    @property
    def raw_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Header fields as they arrived. Take Content-Length from `content_length`."""
        return self.message.raw_headers
