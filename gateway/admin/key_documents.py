"""Documents of the admin API about API keys. `documents.py` has the others."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from gateway.admin.documents import Document


class ApiKeyState(Document):
    """An API key without its secret."""

    id: str
    owner: str
    """Subject of its callers."""
    tenant: str | None
    tier: str | None
    models: list[str] | None
    """Models that it may use; null means all of the route."""
    limits: list[str]
    """Limits of the key, in addition to the route's."""
    scopes: list[str]
    created: str
    """Time in ISO 8601, like the times below."""
    expires: str | None
    revoked: str | None
    state: Literal["usable", "expired", "revoked"]
    last_used: float | None
    """Seconds since the epoch, to half a second; null if it is not known or was not used."""
    requests: int
    """Requests in the last 30 days."""
    tokens: int
    """Input and output tokens in the last 30 days."""
    cost: dict[str, float]
    """Cost in the last 30 days, by currency."""


class KeyProvider(Document):
    name: str
    """Name of the provider in `auth`."""
    kept_in: Literal["file", "store"]
    keys: list[ApiKeyState]
    """The oldest first."""


class ApiKeys(Document):
    providers: list[KeyProvider]
    usage_known: bool
    """False without a local store: then the use of keys is not known."""


class KeyOrder(Document):
    """Settings of a new key."""

    model_config = ConfigDict(extra="forbid")

    owner: str = Field(min_length=1, max_length=200)
    tenant: str | None = Field(None, max_length=200)
    tier: str | None = Field(None, max_length=200)
    models: list[str] | None = None
    limits: list[str] = Field(default_factory=list)
    scopes: list[str] = Field(default_factory=list)
    expires: str | None = None
    """Lifetime, such as `90d`; null: unlimited."""


class KeyRotation(Document):
    model_config = ConfigDict(extra="forbid")

    overlap: str = "1h"
    """Time for which the old key stays usable, such as `1h`; `0s` ends it at once."""


class NewKey(Document):
    secret: str
    """The key to give to its owner. It is not shown again."""
    key: ApiKeyState
