"""How a request went: the reason of its end, what of the response the client has, its failure.

`gateway/exchange.py` has them all for one request.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class EndReason(StrEnum):
    """Reason why an exchange ended."""

    COMPLETE = "complete"
    """The response was sent completely; it may have been an error response."""
    CLIENT_ABORT = "client_abort"
    """The client left, or read nothing for too long."""
    UPSTREAM_RESET = "upstream_reset"
    """The upstream broke off after its response had begun."""
    TIMEOUT = "timeout"
    """After the response had begun, the upstream or the session was silent for too long, or the
    total time ran out.
    """
    DRAIN = "drain"
    """The gateway stopped before the response was complete."""
    REFUSED = "refused"
    """A session broke a rule or used up its limit, a credential expired, or a hook refused the
    answer; the error says which.
    """
    CANCELLED = "cancelled"
    """An operator ended the request."""
    INTERNAL = "internal_error"
    """An internal error of the gateway."""


class Commit(Enum):
    """Commit state: how much of the response the client has, and so how an error can be
    reported.
    """

    OPEN = "open"
    """No byte was sent. An error is reported by its status."""
    EARLY = "early"
    """The head of an event stream was sent, and no answer yet. An error is reported by one event,
    which ends the stream. Another upstream may still be asked, since the client has seen no part of
    an answer.
    """
    ANSWERED = "answered"
    """The head of the answer was sent."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Error of a request, as logs, metrics and traces report it. Not the exception: its traceback
    would keep the request in memory.
    """

    code: str | None
    """Code of the gateway's error; None for an error response that was passed on."""
    reason: str | None
    """Details, for the log only: the backend's message, if there is one."""
    limit: str | None = None
    """Name, in the configuration, of the limit that refused the request."""
    retry_after_s: int | None = None
    """Seconds after which the client was told to retry."""
    model: str | None = None
    """Model that the client asked for, if it is not served. It is no fact of the exchange: metrics
    must not have a series for each name that a client invents.
    """


@dataclass(slots=True)
class Stalls:
    """Pauses of a response because the client did not read."""

    count: int = 0
    seconds: float = 0.0
