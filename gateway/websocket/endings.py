"""Map gateway errors to the end of a session: the reason for the log and the close frame."""

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
"""Ending for all other errors: limits and violations."""


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


def ending_of(error: GatewayError) -> tuple[EndReason, Closing]:
    """Return the end reason and the close frame's content for an error."""
    reason, code = _ENDINGS.get(type(error), _ANOTHER)
    return reason, Closing(code, error.message)
