"""Operator of a request to the admin listener: identity and role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateway.admin.roles import OperatorRole

if TYPE_CHECKING:  # commands need no server
    from aiohttp import web

OPERATOR = "gateway.operator"
"""Key under which aiohttp's request object keeps its operator."""

How = Literal["token", "session", "local", "shell", "none"]


@dataclass(frozen=True, slots=True)
class Operator:
    """Person or program that sent a request."""

    name: str
    """Name in the audit log: of the person at the issuer, or of the token."""
    how: How
    """Way in which the operator was identified. `local`: the loopback interface requires no
    credential. `none`: unknown.
    """
    role: OperatorRole | None
    address: str | None
    subject: str | None = None
    """Claim `sub` of a person who signed in."""
    session: str | None = None
    """Id of the session."""


def operator_of(request: web.Request) -> Operator:
    """Return the operator of an admitted request."""
    found: Operator = request[OPERATOR]
    return found
