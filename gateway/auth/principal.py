"""Principal: the authenticated caller of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.auth.allowance import Grant
from gateway.model_names import AllowedModels


@dataclass(frozen=True, slots=True)
class Principal:
    """Authenticated caller of a request."""

    subject: str
    provider: str
    """Name of the provider that verified the credential."""
    tenant: str | None = None
    tier: str | None = None
    groups: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    """Permissions: the scopes and roles of the token, or the scopes of the API key."""
    models: AllowedModels | None = None
    """Models that the caller may use, by name or pattern; None means every model of the route."""
    limits: tuple[str, ...] = ()
    """Names of the caller's own limits, in addition to the route's."""
    key_id: str | None = None
    """Id of the API key, if the caller used one."""
    token_id: str | None = None
    """`jti` claim of the token, if the caller used one."""
    expires_at: float | None = None
    """Time when the credential expires, in seconds since the epoch; None if it does not expire."""
    claims: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    headers: bytes = field(default=b"", compare=False, repr=False)
    """Header lines that describe the caller to the upstream, by the provider's allow-list."""
    team: str | None = None
    """Team of the API key."""
    tags: tuple[str, ...] = ()
    """Tags of the API key, for usage."""
    routes: frozenset[str] | None = None
    """Routes that the caller may use; None means every route that accepts its credential."""
    grants: tuple[Grant, ...] = ()
    """Allowances of the key, its user and its team. A request needs all of them."""
