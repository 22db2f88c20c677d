"""Bridge: the generations of one socket are started and cancelled, and share it fairly."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from urllib.parse import quote

from gateway.bridge.answer import BridgeAnswer
from gateway.bridge.call import BridgeCall
from gateway.bridge.messages import (
    PING,
    PONG,
    BadMessage,
    BridgePaths,
    CancelMessage,
    CreateMessage,
    PingMessage,
    ResumeMessage,
    Tag,
    error_message,
    expiring_message,
    parse,
)
from gateway.client_connection import ClientConnection, SessionRequest
from gateway.dialects import Dialect
from gateway.errors import (
    Cancelled,
    Draining,
    GatewayError,
    Overloaded,
    RequestError,
    StreamNotFound,
    TooManyGenerations,
)
from gateway.facts import DelegatedIdentity
from gateway.json_body import is_heavy
from gateway.load.offload import Offload
from gateway.websocket.client_socket import ClientSocket

_REPLIES_BYTES = 64 * 1024
"""Maximum bytes of replies that wait for a client that does not read. Above it, the client's
messages are not read either.
"""


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """Bridge settings of a route."""

    endpoints: BridgePaths
    streams_path: str | None
    """Path prefix under which resumable streams are served; None if the route keeps no streams."""
    generations: int
    """Maximum concurrent generations on one socket."""
    dialect: Dialect
    offload: Offload
    """Executor that parses large messages off the event loop."""


class Bridge:
    """Server side of the bridge protocol on one socket."""

    def __init__(
        self,
        options: BridgeOptions,
        client: ClientConnection,
        delegated: DelegatedIdentity,
        fields: tuple[tuple[bytes, bytes], ...],
    ) -> None:
        """Create the bridge. `fields` are the header fields of every request of the socket."""
        assert client.transport is not None
        self._options = options
        self._client, self._transport = client, client.transport
        self._delegated = delegated
        self._fields = fields
        self._calls: dict[Tag, BridgeCall] = {}
        self._paused: deque[BridgeCall] = deque()
        """Paused calls, in the order in which they resume."""
        self._talking: ClientSocket | None = None
        self._draining = False
        self._unread_bytes = 0
        """Bytes of replies sent since the client's connection became congested."""
        self._active_at = asyncio.get_running_loop().time()

    async def talk(self, socket: ClientSocket) -> None:
        """Serve the socket until it ends; then its generations lose their client."""
        self._talking = socket
        socket.host = self
        if self._draining:
            self.drain()
        try:
            while True:
                await self._take(await socket.receive())
                if self._unread_bytes > _REPLIES_BYTES:
                    await socket.room()
        finally:
            for call in [*self._calls.values()]:
                call.disconnect()
            self._calls.clear()

    def drain(self) -> None:
        """Start no more generations, and close the socket after the last one."""
        self._draining = True
        if not self._calls and self._talking is not None:
            self._talking.fail(Draining())

    @property
    def _socket(self) -> ClientSocket:
        assert self._talking is not None
        return self._talking

    # -- called by the socket ------------------------------------------------------------------

    def flow(self, *, congested: bool) -> None:
        """Pause all calls while the client's connection is congested, then resume them in turn.

        They resume in the order in which they were paused, so that one with much output does not
        delay the others.
        """
        paused = self._paused
        if congested:
            self._unread_bytes = 0
            for call in self._calls.values():
                if call not in paused:
                    paused.append(call)
                call.pause()
            return
        while paused and not self._socket.congested:
            paused.popleft().resume()

    def failing(self, error: GatewayError) -> None:
        """End each generation with a message, because the socket is about to be closed."""
        ends = isinstance(error, (Draining, Cancelled))
        for call in [*self._calls.values()]:
            call.fail(error) if ends else call.abandon(error)

    def pinged(self) -> None:
        """Send a ping message: web pages cannot see the pings of the WebSocket protocol."""
        if not self._socket.congested:
            self._socket.post((PING,), quiet=True)

    def expiring(self, left_s: float) -> None:
        """Send a message, so that the client can open its next socket in time."""
        self._socket.post((expiring_message(left_s),), quiet=True)

    def active_at(self) -> float:
        """Return the current time while a generation runs, else the time when the last one ended.

        In seconds of the loop's clock. Pings do not count as activity.
        """
        return asyncio.get_running_loop().time() if self._calls else self._active_at

    # -- messages from clients -----------------------------------------------------------------

    async def _take(self, message: bytes) -> None:
        options = self._options
        try:
            if is_heavy(message):
                said = await options.offload.run(parse, message, options.endpoints)
            else:
                said = parse(message, options.endpoints)
            if isinstance(said, PingMessage):
                self._reply(PONG)
            elif isinstance(said, CancelMessage):
                self._cancel(said.tag)
            else:
                self._admit(said.tag)
                self._begin(said.tag, self._request(said))
        except BadMessage as exc:
            self._refuse(exc.tag, exc.error)
        except Overloaded as error:
            self._refuse(None, error)

    def _admit(self, tag: Tag) -> None:
        """Check that a generation may start. Raise BadMessage."""
        if tag in self._calls:
            error = RequestError(
                "A generation with this id is under way. Wait for its end, or use another.",
                code="duplicate_id",
                param="id",
            )
            raise BadMessage(error, tag)
        if self._draining:
            raise BadMessage(Draining(), tag)
        if len(self._calls) >= self._options.generations:
            raise BadMessage(TooManyGenerations(), tag)

    def _request(self, said: CreateMessage | ResumeMessage) -> SessionRequest:
        """Return the request that a message stands for. Raise BadMessage."""
        options = self._options
        if isinstance(said, ResumeMessage):
            if options.streams_path is None:
                raise BadMessage(StreamNotFound(), said.tag)
            query = f"?after={said.after}" if said.after else ""
            return SessionRequest(
                "GET", f"{options.streams_path}{said.stream}{query}", self._fields
            )
        fields = [(name.encode(), value.encode("latin-1")) for name, value in said.headers]
        fields.append((b"Content-Type", b"application/json"))
        fields.append((b"Content-Length", b"%d" % len(said.body)))
        return SessionRequest("POST", said.path, (*self._fields, *fields), said.body)

    def _begin(self, tag: Tag, request: SessionRequest) -> None:
        call = BridgeCall(
            self._client.branch(self._delegated),
            BridgeAnswer(tag, self._options.dialect),
            self._transport,
            self._client.backlog,
            send=self._socket.post,
            ended=self._ended,
        )
        self._calls[tag] = call
        call.begin(request)
        if self._socket.congested and tag in self._calls:
            self._paused.append(call)
            call.pause()

    def _cancel(self, tag: Tag) -> None:
        call = self._calls.get(tag)
        if call is None:
            error = RequestError(
                "No generation with this id is under way.", code="unknown_id", param="id"
            )
            raise BadMessage(error, tag)
        stream = None if call.generates else call.answer.stream
        call.cancel()
        if stream is not None and self._options.streams_path is not None:
            # The call only reads a stream that another request began: delete that stream.
            self._delete(f"{self._options.streams_path}{quote(stream)}")

    def _delete(self, path: str) -> None:
        """Send a DELETE request and ignore its response."""
        BridgeCall(
            self._client.branch(self._delegated),
            BridgeAnswer(b"null", self._options.dialect),
            self._transport,
            self._client.backlog,
            send=lambda _: None,
            ended=lambda _: None,
        ).begin(SessionRequest("DELETE", path, self._fields))

    # -- messages to clients -------------------------------------------------------------------

    def _refuse(self, tag: Tag | None, error: GatewayError) -> None:
        body = self._options.dialect.error_body(error, "")
        self._reply(error_message(tag, error.status, body, retry_after=error.retry_after_s))

    def _reply(self, message: bytes) -> None:
        self._socket.post((message,), quiet=True)
        if self._socket.congested:
            self._unread_bytes += len(message)

    def _ended(self, call: BridgeCall) -> None:
        self._active_at = asyncio.get_running_loop().time()
        if self._calls.get(call.answer.tag) is call:
            del self._calls[call.answer.tag]
        if call in self._paused:
            self._paused.remove(call)
        if self._draining and not self._calls:
            self._socket.fail(Draining())
