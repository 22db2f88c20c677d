"""The principal: who a request is from, once a provider has vouched for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    subject: str
    provider: str
    """The name of the provider that vouched."""
    tenant: str | None = None
    tier: str | None = None
    groups: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    """What it may do: the token's scopes and roles."""
    models: frozenset[str] | None = None
    """The only models it may use; None: whatever the route serves."""
    limits: tuple[str, ...] = ()
    """Limits of its own, beside the route's."""
    key_id: str | None = None
    """The API key it came with."""
    token_id: str | None = None
    """The `jti` of its token."""
    expires_at: float | None = None
    """When it stops being one, in seconds since the epoch; None: not by itself."""
    claims: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    headers: bytes = field(default=b"", compare=False, repr=False)
    """Header lines that tell the upstream of it, as the provider's allow-list says."""
