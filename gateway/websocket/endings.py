"""What the gateway says when it ends a session, and what the log does."""

from __future__ import annotations

from enum import Enum

from gateway.errors import Cancelled, CredentialExpired, Draining, GatewayError, SessionIdle
from gateway.exchange import EndReason
from gateway.websocket.codes import Closing, Code

_ENDINGS: dict[type[GatewayError], tuple[EndReason, Code]] = {
    Draining: (EndReason.DRAIN, Code.RESTART),
    Cancelled: (EndReason.CANCELLED, Code.POLICY),
    CredentialExpired: (EndReason.REFUSED, Code.UNAUTHORIZED),
    SessionIdle: (EndReason.TIMEOUT, Code.GOING_AWAY),
}
_ANOTHER = (EndReason.REFUSED, Code.POLICY)
"""Limits, and violations."""


class By(Enum):
    """Who ended a session."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


class Tally:
    """What passed through a WebSocket, and how it closed."""

    __slots__ = ("close_code", "closed_by", "messages_in", "messages_out")

    def __init__(self) -> None:
        self.messages_in = self.messages_out = 0
        self.close_code: int | None = None
        self.closed_by: By | None = None

    def closed(self, code: int, by: By) -> None:
        """Remember why; the first reason stands."""
        if self.closed_by is None:
            self.close_code, self.closed_by = int(code), by


def ending_of(error: GatewayError) -> tuple[EndReason, Closing]:
    """How a session ends for an error."""
    reason, code = _ENDINGS.get(type(error), _ANOTHER)
    return reason, Closing(code, error.message)
