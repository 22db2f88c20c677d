"""Refusal, models and allowances of a caller, by the records of its team and user.

The callers are those with API keys, and those with tokens whose issuer names teams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.auth.allowance import Allowance, Grant, GrantLevel
from gateway.auth.claims import claim
from gateway.auth.holders import Holder, Holders
from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected
from gateway.errors import AuthUnavailable
from gateway.model_names import AllowedModels, allowed_models
from gateway.store.record_cache import NotCached

_CANDIDATES_CAP = 100
"""Maximum number of values of a claim that are looked up as teams."""


def refusal(credential: str, owner: str, team: Holder | None, user: Holder | None) -> str | None:
    """Return why a team or user refuses a caller, or None. `credential` and `owner` name what the
    caller has, and whose it is: "API key" and "owner".
    """
    if team is not None and team.suspended is not None:
        return f"The team of the {credential} is suspended"
    if user is not None and user.suspended is not None:
        return f"The {owner} of the {credential} is suspended"
    return None


def missing(credential: str) -> str:
    """Return the refusal of a caller whose team has no record."""
    return f"The team of the {credential} does not exist"


def models_of(
    own: Iterable[str] | None, team: Holder | None, user: Holder | None
) -> AllowedModels | None:
    """Return the models that a caller may use, who has `own` ones; None means every model."""
    above = [holder.models for holder in (team, user) if holder is not None]
    return allowed_models(one for one in (own, *above) if one is not None)


def own_grant(line: str, allowance: Allowance) -> Grant:
    """Return the allowance of a key, which is counted for its line."""
    return Grant(GrantLevel.KEY, f"key:{line}", allowance)


def user_grant(user: Holder) -> Grant:
    """Return the allowance of a user, for all its keys and tokens."""
    return Grant(GrantLevel.USER, f"user:{user.name}", user.limits)


def member_grant(team: Holder, subject: str) -> Grant:
    """Return the allowance of each user of a team, for the user's keys and tokens of the team."""
    return Grant(GrantLevel.USER, f"team:{team.name}/{subject}", team.per_user)


def team_grant(team: Holder) -> Grant:
    """Return the allowance of a team, for all its keys and tokens."""
    return Grant(GrantLevel.TEAM, f"team:{team.name}", team.limits)


def grants_of(
    subject: str,
    team: Holder | None,
    user: Holder | None,
    *,
    line: str | None = None,
    own: Allowance | None = None,
) -> Iterator[Grant]:
    """Yield the allowances that a caller's requests need: its own, its user's and its team's. A
    caller with an API key has its `own` one, counted for the `line` of the key.
    """
    found = []
    if line is not None and own is not None:
        found.append(own_grant(line, own))
        if team is not None:
            found.append(Grant(GrantLevel.KEY, f"team:{team.name}/{line}", team.per_key))
    if user is not None:
        found.append(user_grant(user))
    if team is not None:
        found += [member_grant(team, subject), team_grant(team)]
    return (grant for grant in found if not grant.allowance.is_empty)


@dataclass(frozen=True, slots=True)
class TeamClaim:
    """Claim of a token that names the caller's team."""

    name: str
    """Name of the claim: its value is a text or a list."""
    teams: Mapping[str, str]
    """Team for each value of the claim. Of several, the first of this mapping counts. Empty: the
    values are names of teams.
    """
    default: str | None = None
    """Team of the callers whose claim names none."""

    def candidates(self, claims: Mapping[str, Any]) -> tuple[Sequence[str], bool]:
        """Return the names of teams that the claims lead to, in order of precedence, and whether
        the first of them has to exist. Otherwise the first one that exists counts.
        """
        value = claim(claims, self.name)
        values = value if isinstance(value, list) else [value]
        texts = [one for one in values if isinstance(one, str) and one]
        if self.teams:
            return [team for one, team in self.teams.items() if one in texts][:1], True
        return texts[:_CANDIDATES_CAP], not isinstance(value, list)


class TokenTeams:
    """Teams and users of the callers of one issuer."""

    def __init__(self, holders: Holders, names: TeamClaim) -> None:
        self._holders = holders
        self._names = names

    @property
    def version(self) -> int:
        """Number that grows when a team or user has changed."""
        return self._holders.version

    def joined(self, principal: Principal) -> Principal | None:
        """Return the principal with its team, models and allowances, or None if a record has to be
        fetched. Raise Rejected, or AuthUnavailable if no record was read yet.
        """
        if not self._holders.ready:
            raise AuthUnavailable("the teams were not read yet")
        try:
            team, user = self._team(principal), self._holders.user(principal.subject)
        except NotCached:
            return None
        if (reason := refusal("token", "user", team, user)) is not None:
            raise Rejected(reason, reason)
        return replace(
            principal,
            team=team.name,
            models=models_of(None, team, user),
            grants=tuple(grants_of(principal.subject, team, user)),
        )

    async def fetch(self, principal: Principal) -> None:
        """Fetch the records that `joined` needs. Raise StoreUnavailable."""
        named, _ = self._names.candidates(principal.claims)
        await self._holders.fetch(principal.subject, None)
        for name in {*named, self._names.default} - {None}:
            await self._holders.fetch(principal.subject, name)

    def is_valid(self, principal: Principal) -> bool:
        """Tell whether team and user of a principal still accept it. A record that is not at hand
        counts as unchanged: the next request of the caller fetches it.
        """
        try:
            team = None if principal.team is None else self._holders.team(principal.team)
            user = self._holders.user(principal.subject)
        except NotCached:
            return True
        return team is not None and refusal("token", "user", team, user) is None

    def start(self) -> None:
        """Start to follow changes. Needs a running event loop."""
        self._holders.start()

    def _team(self, principal: Principal) -> Holder:
        """Return the team of a caller. Raise Rejected or NotCached."""
        names, must_exist = self._names.candidates(principal.claims)
        for name in names:
            found = self._holders.team(name)
            if found is not None:
                return found
            if must_exist:
                raise Rejected(missing("token"), missing("token"))
        default = self._names.default
        if default is None:
            text = f"claim {self._names.name} names no team"
            raise Rejected(text, f"The token's {text}")
        found = self._holders.team(default)
        if found is None:
            raise Rejected(missing("token"), missing("token"))
        return found
