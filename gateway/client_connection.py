"""Connection of a client, as the layers below the server use it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from gateway.auth.certificate import PeerCertificate
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.facts import DelegatedIdentity
from gateway.load.backlog import Backlog
from gateway.response_writer import BodyEncoder, BodySource, ResponseWriter, SentHead


class BodyWriter(Protocol):
    """Writer of a response body to a client, such as a relay."""

    @property
    def is_stream(self) -> bool:
        """True if it writes an event stream, which ends when the caller's credential expires."""

    def pause(self) -> None:
        """Pause the source: the client is reading too slowly."""

    def resume(self) -> None:
        """Resume the source: the client has caught up."""

    def fail(self, error: GatewayError) -> None:
        """End the body now, with an error that the client can see."""

    def probe(self) -> bool:
        """Send bytes without meaning, to detect a dead client. Return False if that is not
        possible.
        """


class ByteSink(Protocol):
    """Receiver of a client's bytes after the connection has left HTTP."""

    def received(self, data: bytes) -> None:
        """Handle the next bytes."""


class Cancellable(Protocol):
    """Work in progress for a request."""

    def cancel(self) -> None:
        """Give up the work: nobody waits for its result."""


class MakeWriter(Protocol):
    """Maker of the writer of one response."""

    def __call__(
        self,
        client: ClientConnection,
        exchange: Exchange,
        source: BodySource | None,
        chunked: bool = True,
        encoder: BodyEncoder | None = None,
    ) -> ResponseWriter:
        """Return a writer. `source` may be paused; None if the body is there already. `chunked` is
        False if the head says the length of the body. Pass all by position: CPython 3.11 makes a
        dict of the keywords in the call of a class, which takes longer than the rest of the call.
        """


class ClientConnection(Protocol):
    """Connection of the client, as used by a response."""

    transport: asyncio.Transport | None
    """Transport of the connection; None once the client has left."""
    make_writer: MakeWriter
    pending: Cancellable | None
    """Answer to the request in flight that will be sent by a call, without a task, or that a
    plug-in sends itself. It is cancelled if the client leaves.
    """
    secure: bool
    """True if the client's connection to this process is encrypted."""
    certificate: PeerCertificate | None
    """Certificate that the client has shown, if any."""

    def send(self, response: web.StreamResponse) -> None:
        """Send the response to the request in flight."""

    def write_whole(self, head: SentHead, body: bytes) -> None:
        """Send a response whose body is there, and whose head says its length."""

    def sent(self, response: web.StreamResponse) -> None:
        """Note that the response to the request in flight is complete."""

    def work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine for the request in flight. It is cancelled if the client leaves."""

    def broke(self, error: Exception) -> None:
        """Cut the connection after an error of the gateway's own."""

    def drop(self) -> None:
        """End the request in flight, whose stream has just received an error."""

    @property
    def backlog(self) -> Backlog:
        """Queue for work to do in later turns of the event loop."""

    def may_keep_alive(self) -> bool:
        """Tell whether the connection may serve another request after this one."""

    def attach(self, writer: BodyWriter) -> None:
        """Tell `writer` when to pause and resume, until `detach`."""

    def detach(self) -> None:
        """Stop telling the writer: the body has ended."""

    def take_over(self, sink: ByteSink) -> bytes:
        """Give all bytes that the client sends from now on to `sink`. Return the bytes that the
        client has sent since its request.
        """

    def pause_reading(self) -> None:
        """Stop reading from the client for now."""

    def resume_reading(self) -> None:
        """Read from the client again."""

    def branch(self, delegated: DelegatedIdentity) -> Branch:
        """Return another connection of the same client, for a request of its session."""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """Request of a session, which no parser has to read."""

    method: str
    target: str
    """Path and query."""
    fields: tuple[tuple[bytes, bytes], ...]
    """Header fields, with Host, and with Content-Length if there is a body."""
    body: bytes = b""


class AnswerReceiver(Protocol):
    """Receiver of the response to a request of a session."""

    @property
    def make_writer(self) -> MakeWriter:
        """Maker of the writer of a body that is written as it arrives."""

    def head(self, status: int, fields: Mapping[str, str]) -> None:
        """Take the head."""

    def body(self, data: bytes) -> None:
        """Take a piece of the body."""

    def complete(self) -> None:
        """Take the end of a body that is complete."""


class Branch(Protocol):
    """Connection for one request of a session."""

    exchange: Exchange | None
    """Exchange served at the moment."""

    def ask(
        self, request: SessionRequest, receiver: AnswerReceiver, transport: asyncio.Transport
    ) -> None:
        """Serve a request. Its response goes to `receiver`. `transport` is closed at the end."""

    def pause_writing(self) -> None:
        """Stop writing for now."""

    def resume_writing(self) -> None:
        """Resume writing."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Close the connection: nobody waits for the response."""

    def end(self, error: GatewayError) -> None:
        """End the current exchange with an error."""
