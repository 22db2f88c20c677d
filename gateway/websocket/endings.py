"""Map gateway errors to the end of a session: the reason for the log and the close frame."""

from __future__ import annotations

from gateway.errors import (
    Cancelled,
    CredentialExpired,
    Draining,
    GatewayError,
    SessionExpired,
    SessionIdle,
)
from gateway.outcome import EndReason
from gateway.websocket.codes import Closing, Code

_ENDINGS: dict[type[GatewayError], tuple[EndReason, Code]] = {
    Draining: (EndReason.DRAIN, Code.RESTART),
    Cancelled: (EndReason.CANCELLED, Code.POLICY),
    CredentialExpired: (EndReason.REFUSED, Code.UNAUTHORIZED),
    SessionIdle: (EndReason.TIMEOUT, Code.GOING_AWAY),
    SessionExpired: (EndReason.TIMEOUT, Code.GOING_AWAY),
}
_ANOTHER = (EndReason.REFUSED, Code.POLICY)
"""Ending for all other errors: limits and violations."""


def ending_of(error: GatewayError) -> tuple[EndReason, Closing]:
    """Return the end reason and the close frame's content for an error."""
    reason, code = _ENDINGS.get(type(error), _ANOTHER)
    return reason, Closing(code, error.message)
