"""Facts of one request: how it arrived, who sends it, and what it asks for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.auth.principal import Principal
from gateway.errors import CredentialExpired, GatewayError
from gateway.json_body import JsonBody
from gateway.limiting.decision import Taken


@dataclass(frozen=True, slots=True)
class UnfinishedAnswer:
    """Kept answer of a process that died, which a request of the gateway's own continues."""

    stream: str
    """Id of the stream."""
    events: bytes
    """Events of the answer so far."""
    taken: Sequence[Taken]
    """What the request that began it took of its limits."""


@dataclass(frozen=True, slots=True)
class DelegatedIdentity:
    """Identity that a bridge session lends to each request it makes; or that of the caller who
    began an unfinished answer.
    """

    principal: Principal | None
    """Principal of the session's handshake; None if its route requires no authentication."""
    route: str
    """Name of the only route that may serve the request."""
    request_id: str
    """Request id of the session's handshake; empty if there is no session."""
    unfinished: UnfinishedAnswer | None = None
    """Answer that the request continues."""


@dataclass(slots=True, eq=False, repr=False)
class Facts:
    """Facts of one request. Each is None, or empty, until it is known.

    Only its part of the request path sets a fact: the connection, request matching,
    authentication, or model resolution. What becomes of the request is in the `Exchange`.
    """

    # Set by the connection.
    method: str
    client_ip: str
    """Address of the client. Request matching replaces a trusted proxy's by the one it reports."""
    trusted_peer: bool
    """True if the connection comes from a trusted proxy."""
    started_at: float = field(default_factory=time.perf_counter, init=False)
    """Time when the first byte of the request arrived, in `time.perf_counter` seconds."""
    delegated: DelegatedIdentity | None = None
    """Identity lent by the session that makes the request."""

    request_id: str = ""
    """Set by the policy of request ids."""

    # Set by request matching.
    host: str = ""
    path: str = ""
    """Canonical path, used for route matching and for forwarding."""
    query: str = ""
    """Query as it is forwarded: authentication takes credentials out of it, and model resolution
    renames the model in it.
    """
    forwarded: bytes = b""
    """Header lines that identify the client to the upstream."""
    public_url: str = ""
    """Scheme and authority that the client used."""
    route: str | None = None

    # Set by authentication.
    principal: Principal | None = None
    expires_at: float | None = None
    """Time at which a stream for this request must end, in seconds since the epoch."""
    expires_with: type[GatewayError] = CredentialExpired
    """Error that ends the stream at that time."""

    # Set by model resolution and the reader of bodies.
    model: str | None = None
    """Model that the caller asks for."""
    body: bytes | None = None
    """Body as it is to be sent, if it had to be read whole."""
    json: JsonBody | None = None
    """Parsed body, if it is a JSON object and was parsed."""
    decoded: bool = False
    """True if the body came with a content coding, and is sent without."""
    deadline: float | None = None
    """Time by which the request must end, if limited, in `time.perf_counter` seconds."""

    def rewritten(self, made: JsonBody | None = None) -> None:
        """Send the parsed body as it was edited, or `made`, which was made from it."""
        if made is not None:
            self.json = made
        assert self.json is not None
        self.body = self.json.rendered()
