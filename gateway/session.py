"""State of a WebSocket request that other parts than its session need."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from gateway.errors import GatewayError
from gateway.usage import Usage


class By(Enum):
    """Party that ended a session."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


class SessionTally:
    """Message counts of a WebSocket, and how it closed."""

    __slots__ = ("close_code", "closed_by", "messages_in", "messages_out")

    def __init__(self) -> None:
        self.messages_in = self.messages_out = 0
        self.close_code: int | None = None
        self.closed_by: By | None = None

    def closed(self, code: int, by: By) -> None:
        """Record the close code and the party that closed. Only the first call has an effect."""
        if self.closed_by is None:
            self.close_code, self.closed_by = int(code), by


class Meter(Protocol):
    """Meter that charges a session to the limits of its route."""

    def count(self, usage: Usage) -> None:
        """Charge tokens that were used."""

    async def exhausted(self) -> GatewayError | None:
        """Return an error if a limit is exhausted, otherwise None."""


class Opening(Protocol):
    """Validated opening handshake of a client."""

    @property
    def lines(self) -> bytes:
        """Header lines that make the request to the upstream a handshake."""


class SessionState:
    """State of one WebSocket request. The policy that reads the handshake creates it."""

    __slots__ = ("checks_model", "meter", "on_drain", "opening", "tally")

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.checks_model: Callable[[str], bool] | None = None
        """Function that tells whether the caller may use a model; None if every caller may use all
        models. Model resolution sets it.
        """
        self.meter: Meter | None = None
        """Meter that counts tokens during the session, which cannot wait for its end. The limits
        set it.
        """
        self.tally: SessionTally | None = None
        """Counts of what passes; None until the protocol is switched. The session sets it."""
        self.on_drain: Callable[[], None] | None = None
        """Called when the gateway begins to shut down. A bridge sets it."""

    def release(self) -> None:
        """Drop what may refer to the exchange, which has ended."""
        self.on_drain = self.meter = None

    def drain(self) -> None:
        """Tell the session that the gateway begins to shut down."""
        if self.on_drain is not None:
            self.on_drain()
