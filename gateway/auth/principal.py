"""The principal: who a request is from, once a provider has vouched for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    subject: str
    provider: str
    """The name of the provider that vouched."""
    tenant: str | None = None
    tier: str | None = None
