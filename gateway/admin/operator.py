"""Operator of a request to the admin listener: who it is, and what the request may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateway.admin.roles import OperatorRole

if TYPE_CHECKING:  # commands need no server
    from aiohttp import web

OPERATOR = "gateway.operator"
"""Key of a request under which its operator is kept."""

How = Literal["token", "session", "local", "shell", "none"]


@dataclass(frozen=True, slots=True)
class Operator:
    """Person or program that sent a request."""

    name: str
    """Name that the audit log shows: that of a person at the issuer, or of a token."""
    how: How
    """Kind of recognition. `local`: nothing is asked for on the loopback interface. `none`: not
    recognized.
    """
    role: OperatorRole | None
    address: str | None
    subject: str | None = None
    """Claim `sub` of a person who signed in."""
    session: str | None = None
    """Id of the session."""


def operator_of(request: web.Request) -> Operator:
    """Return the operator of a request that was admitted."""
    found: Operator = request[OPERATOR]
    return found
