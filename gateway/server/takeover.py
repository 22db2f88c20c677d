"""Continue streams of processes that died, as requests of the gateway's own.

Such a request passes through the same pipeline as the one that began the stream, on a connection
without a client, with the identity that was found then. Its response goes nowhere: readers follow
the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.facts import UnfinishedAnswer, Voucher
from gateway.resume.log import StreamLog
from gateway.resume.saved_request import SavedRequest
from gateway.resume.streams import Streams
from gateway.server.connection import Connection


class Takeover:
    """Function that continues a stream, for `Streams.heir`."""

    def __init__(self, connect: Callable[[], Connection], streams: Streams) -> None:
        """`connect` returns a new connection."""
        self._connect = connect
        self._streams = streams

    def __call__(self, log: StreamLog, saved: SavedRequest) -> None:
        """Send the request that began the stream again, for the rest of its answer."""
        events = b"".join(log.pieces(0, log.size_bytes + 1))
        unfinished = UnfinishedAnswer(log.id, events, saved.taken)
        connection = self._connect()
        connection.vouch(Voucher(saved.principal, saved.route, "", unfinished))
        NoClient(connection, saved, lambda: self._streams.abandon(log)).begin(saved.message())


class NoClient(asyncio.Transport):
    """Transport without a client. It is closed as soon as the answer goes on without it."""

    def __init__(self, connection: Connection, saved: SavedRequest, ended: Callable[[], None]):
        """`ended` is called when the connection is closed."""
        super().__init__()
        self._connection = connection
        self._saved = saved
        self._ended = ended
        self._closing = False

    def begin(self, message: bytes) -> None:
        """Send the request."""
        self._connection.connection_made(self)
        if not self._closing:
            self._connection.data_received(message)

    # Called by the gateway's side.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        exchange = self._connection.exchange
        if exchange is not None and exchange.keeper is not None:
            self.close()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"")

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._lost)

    def abort(self) -> None:
        self.close()

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return self._saved.client_ip, 0
        if name == "sslcontext" and self._saved.secure:
            return True
        return default

    def _lost(self) -> None:
        self._connection.connection_lost(None)
        self._ended()
