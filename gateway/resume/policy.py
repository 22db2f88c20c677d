"""What becomes of a generation that has no reader left. Nothing here reads a clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.config.units import parse_duration
from gateway.errors import RequestError

HEADER = "X-On-Disconnect"
_WAYS = "cancel, detach, or grace with a duration, such as grace=30s"


class OnDisconnect(StrEnum):
    """The ways there are."""

    CANCEL = "cancel"
    """It is cancelled at once."""
    GRACE = "grace"
    """It goes on for a while, and is then cancelled unless a reader has come back."""
    DETACH = "detach"
    """It goes on to its end."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One of them. `grace_s` is 0 but for GRACE."""

    way: OnDisconnect
    grace_s: float = 0.0

    def __str__(self) -> str:
        return f"grace={self.grace_s:g}s" if self.way is OnDisconnect.GRACE else self.way.value


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a route does, and what a request may ask for instead."""

    default: Policy
    longest_grace_s: float
    detach: bool

    @property
    def longest(self) -> Policy:
        """What keeps a generation going for as long as may be."""
        if self.detach:
            return Policy(OnDisconnect.DETACH)
        return Policy(OnDisconnect.GRACE, self.longest_grace_s)

    def policy(self, asked: str | None) -> Policy:
        """What applies to a request. Raise RequestError for what it may not ask, or is nothing."""
        if asked is None:
            return self.default
        word, _, text = asked.strip().partition("=")
        if word == OnDisconnect.CANCEL and not text:
            return Policy(OnDisconnect.CANCEL)
        if word == OnDisconnect.DETACH and not text:
            if not self.detach:
                raise _refusal("This route does not let a generation go on without a reader.")
            return Policy(OnDisconnect.DETACH)
        if word == OnDisconnect.GRACE:
            try:
                grace_s = parse_duration(text) if text else self.longest_grace_s
            except ValueError:
                raise _refusal(f"{HEADER} is malformed: send {_WAYS}.") from None
            return Policy(OnDisconnect.GRACE, min(grace_s, self.longest_grace_s))
        raise _refusal(f"{HEADER} is malformed: send {_WAYS}.")


def _refusal(message: str) -> RequestError:
    return RequestError(message, code="invalid_on_disconnect", param=HEADER)
