"""Continue streams of processes that died, as requests of the gateway's own.

Such a request passes through the same pipeline as the one that began the stream, on a connection
without a client, with the identity that was found then. Its response goes nowhere: readers follow
the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gateway.bridge.writer import BridgeWriter
from gateway.client_connection import Branch, MakeWriter
from gateway.facts import DelegatedIdentity, UnfinishedAnswer
from gateway.resume.log import StreamLog
from gateway.resume.saved_request import SavedRequest
from gateway.resume.streams import Streams
from gateway.virtual_transport import VirtualTransport


class Takeover:
    """Continuation of streams; assigned to `Streams.heir`."""

    def __init__(self, branch: Callable[[DelegatedIdentity], Branch], streams: Streams) -> None:
        """`branch` returns a new connection for a request with this identity."""
        self._branch = branch
        self._streams = streams

    def __call__(self, log: StreamLog, saved: SavedRequest) -> None:
        """Send the request that began the stream again, to get the rest of its answer."""
        events = b"".join(log.pieces(0, log.size_bytes + 1))
        unfinished = UnfinishedAnswer(log.id, events, saved.taken)
        branch = self._branch(DelegatedIdentity(saved.principal, saved.route, "", unfinished))
        NoClient(branch, saved, lambda: self._streams.abandon(log)).begin()


class NoClient(VirtualTransport):
    """Transport without a client, and receiver of the response. It is closed as soon as the answer
    goes on without it.
    """

    unread_bytes = 0

    def __init__(self, branch: Branch, saved: SavedRequest, ended: Callable[[], None]) -> None:
        """`ended` is called when the connection is closed."""
        super().__init__()
        self._branch = branch
        self._saved = saved
        self._ended = ended
        self._closing = False

    def begin(self) -> None:
        """Send the request."""
        self._branch.ask(self._saved.request, self, self)

    # Called by the gateway's side: the writer of the response.

    @property
    def make_writer(self) -> MakeWriter:
        """Maker of the writer of the response."""
        return partial(BridgeWriter, self)

    def head(self, status: int, fields: Mapping[str, str]) -> None:
        """Close if the answer continues without a client."""
        self._look()

    def body(self, data: bytes) -> None:
        """Close if the answer continues without a client."""
        self._look()

    def complete(self) -> None:
        """Do nothing: the connection closes after the response."""

    # Called by the gateway's side: the connection.

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._lost)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return self._saved.client_ip, 0
        if name == "sslcontext" and self._saved.secure:
            return True
        return default

    # -- private -----------------------------------------------------------------------------

    def _look(self) -> None:
        exchange = self._branch.exchange
        if exchange is not None and exchange.detached_owner is not None:
            self.close()

    def _lost(self) -> None:
        self._branch.connection_lost(None)
        self._ended()
