"""Documents of the admin API about API keys. `documents.py` has the others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gateway.admin.budgets import BudgetState
from gateway.admin.document import Document
from gateway.auth.allowance import NOTHING_LIMITED, Allowance


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
    team: str | None
    tags: list[str]
    routes: list[str] | None
    """Routes that it may use; null means every route that accepts its provider."""
    allowance: Allowance
    """The key's own limits, set at run time."""
    created: str
    """Time in ISO 8601, like the times below."""
    expires: str | None
    revoked: str | None
    suspended: str | None
    state: Literal["usable", "suspended", "expired", "revoked"]
    version: str
    """Value of `version` for a change that is made from this state."""
    budgets: list[BudgetState] | None = None
    """Budgets of `allowance`, in lists of keys; null if the store of limits does not answer."""
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
    """A page of keys, the oldest first."""
    next: str | None
    """Value of `after` for the next page of this provider; null if there is none."""


class ApiKeys(Document):
    providers: list[KeyProvider]
    usage_known: bool
    """False without a local store: then the use of keys is not known."""


Named = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[list[Named], Field(max_length=100)]


Tag = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^,\x00-\x1f]+$")]
Tags = Annotated[list[Tag], Field(max_length=20)]


class KeySettings(Document):
    """Settings that a new key may have, and that a change may set."""

    model_config = ConfigDict(extra="forbid")

    tenant: Named | None = None
    tier: Named | None = None
    models: Names | None = None
    limits: Names = Field(default_factory=list)
    scopes: Names = Field(default_factory=list)
    expires: str | None = None
    """Lifetime from now on, such as `90d`; null: unlimited."""
    team: Named | None = None
    tags: Tags = Field(default_factory=list)
    """Words that usage is summed by."""
    routes: Names | None = None
    allowance: Allowance = NOTHING_LIMITED


class KeyOrder(KeySettings):
    """Settings of a new key."""

    owner: Named


class KeyChange(KeySettings):
    """Settings to change. Those that are left out stay as they are."""

    owner: Named = ""


class KeyRotation(Document):
    model_config = ConfigDict(extra="forbid")

    overlap: str = "1h"
    """Time for which the old key stays usable, such as `1h`; `0s` ends it at once."""


class NewKey(Document):
    secret: str
    """The key to give to its owner. It is not shown again."""
    key: ApiKeyState


class ChangedKey(Document):
    key: ApiKeyState
    """The key as it is now. Its use is not told here."""
