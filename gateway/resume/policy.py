"""Policies for a generation without readers. Nothing here reads a clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.config.units import parse_duration
from gateway.errors import RequestError

HEADER = "X-On-Disconnect"
_WAYS = "cancel, detach, or grace with a duration, such as grace=30s"


class OnDisconnect(StrEnum):
    """Reactions to the departure of the last reader."""

    CANCEL = "cancel"
    """Cancel at once."""
    GRACE = "grace"
    """Continue for a grace period, then cancel unless a reader has returned."""
    DETACH = "detach"
    """Continue to the end."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A reaction with its grace period. `grace_s` is 0 except for GRACE."""

    way: OnDisconnect
    grace_s: float = 0.0

    def __str__(self) -> str:
        return f"grace={self.grace_s:g}s" if self.way is OnDisconnect.GRACE else self.way.value


@dataclass(frozen=True, slots=True)
class Allowed:
    """The default policy of a route, and the policies that a request may choose instead."""

    default: Policy
    longest_grace_s: float
    detach: bool

    @property
    def longest(self) -> Policy:
        """The allowed policy that keeps a generation running longest."""
        if self.detach:
            return Policy(OnDisconnect.DETACH)
        return Policy(OnDisconnect.GRACE, self.longest_grace_s)

    def policy(self, asked: str | None) -> Policy:
        """Return the policy of a request. Raise RequestError if it is not allowed or malformed."""
        if asked is None:
            return self.default
        word, _, text = asked.strip().partition("=")
        if word == OnDisconnect.CANCEL and not text:
            return Policy(OnDisconnect.CANCEL)
        if word == OnDisconnect.DETACH and not text:
            if not self.detach:
                raise _refusal("This route does not let a generation continue without a reader.")
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
