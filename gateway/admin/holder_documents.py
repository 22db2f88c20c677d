"""Documents of the admin API about teams and users."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from gateway.admin.budgets import BudgetState
from gateway.admin.document import Document
from gateway.admin.key_documents import Names
from gateway.auth.allowance import NOTHING_LIMITED, Allowance


class UserSettings(Document):
    """Settings of a user: the owner of keys. What is left out has its default."""

    model_config = ConfigDict(extra="forbid")

    models: Names | None = None
    """Models that its keys may use at most; null: no restriction."""
    limits: Allowance = NOTHING_LIMITED
    """Limits that all its keys share."""


class TeamSettings(UserSettings):
    """Settings of a team. What is left out has its default."""

    per_user: Allowance = NOTHING_LIMITED
    """Limits of each user of the team, for the user's keys of this team together."""
    per_key: Allowance = NOTHING_LIMITED
    """Limits of each key of the team."""
    user_keys: int = Field(0, ge=0, le=1000)
    """Usable keys that each user may make without an operator; 0: none."""
    key_lifetime: str | None = None
    """Longest lifetime of the keys that users make, such as `30d`; null: they may have no end."""


class HolderState(Document):
    """State of a team or user, beside its settings."""

    name: str
    created: str
    """Time in ISO 8601, like the time below."""
    suspended: str | None
    version: str
    """Value of `version` for a change that is made from this state."""
    budgets: list[BudgetState] | None = None
    """Budgets of `limits`, in lists; null if the store of limits does not answer."""


class UserState(HolderState, UserSettings):
    """A user that has a record. Owners of keys need none."""


class TeamState(HolderState, TeamSettings):
    """Team with its limits and models."""


class TeamMember(Document):
    """A user of a team: its keys and usage there."""

    name: str
    keys: int
    """Usable keys of the team."""
    requests: int
    """Requests in the last 30 days."""
    tokens: int
    """Input and output tokens in the last 30 days."""
    cost: dict[str, float]
    """Cost in the last 30 days, by currency."""
    suspended: str | None
    budgets: list[BudgetState] | None
    """Budgets of `per_user`; null if the store of limits does not answer."""


class TeamMembers(Document):
    members: list[TeamMember]
    """Users with keys or usage of the team, in order of their names; 200 at most."""
    more: bool
    """True if there are more users, or more keys than are looked at."""
    usage_known: bool
    """False without a local store: then the use is not known."""


class Users(Document):
    users: list[UserState]
    """A page of users, in order of their names."""
    next: str | None
    """Value of `after` for the next page; null if there is none."""


class Teams(Document):
    teams: list[TeamState]
    """A page of teams, in order of their names."""
    next: str | None
    """Value of `after` for the next page; null if there is none."""
