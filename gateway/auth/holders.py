"""Teams and users: records above API keys, with limits and models for all keys of a team or user.

They are kept in the store, and are at most half a second old while the store works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from gateway.auth.allowance import NOTHING_LIMITED, Allowance
from gateway.store.record_cache import CAP, NotCached, RecordCache
from gateway.store.records import Records, StoreUnavailable

KIND = "holder"
"""Kind of the records."""
_TOMBSTONE_S = 86_400.0
"""Time for which a deleted record stays, so that every gateway learns of its end."""

_EDITS = 100
"""Attempts to change a record that others change at the same time."""

HolderKind = Literal["team", "user"]
TEAM_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Pattern of a team's name. Names of users are subjects, which may be any text."""


class Holder(BaseModel):
    """A team, or a user: the owner of keys. Parsing an invalid record raises ValidationError."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: HolderKind
    name: str = Field(min_length=1, max_length=200)
    created: AwareDatetime
    models: tuple[str, ...] | None = None
    """Models that its keys may use at most; None means no restriction."""
    limits: Allowance = NOTHING_LIMITED
    """Limits that all its keys share."""
    suspended: AwareDatetime | None = None
    """Time since which its keys are refused."""
    # Only teams have these.
    per_user: Allowance = NOTHING_LIMITED
    """Limits of each user of the team, for the user's keys of this team together."""
    per_key: Allowance = NOTHING_LIMITED
    """Limits of each key of the team."""
    user_keys: int = Field(0, ge=0, le=1000)
    """Usable keys that each user may make for himself; 0: users make no keys."""
    key_lifetime_s: float | None = Field(None, gt=0)
    """Longest lifetime of the keys that users make; None: they may have no end."""

    @property
    def key(self) -> str:
        """Key of its record."""
        return key_of(self.kind, self.name)

    def dump(self) -> bytes:
        """Return the record of the holder."""
        return self.model_dump_json(exclude_defaults=True).encode()


def key_of(kind: HolderKind, name: str) -> str:
    """Return the key of a team's or user's record."""
    return f"{kind}/{name}"


def parse(value: bytes) -> Holder | None:
    """Return the holder of a record; None if it was deleted, or is not valid."""
    try:
        return Holder.model_validate_json(value)
    except ValidationError:
        return None


async def put(records: Records, holder: Holder) -> None:
    """Store a new or changed holder. Raise StoreUnavailable."""
    await records.put(KIND, holder.key, holder.dump())


async def edit(
    records: Records, kind: HolderKind, name: str, change: Callable[[Holder | None], Holder]
) -> tuple[Holder | None, Holder]:
    """Replace a holder by what `change` returns for it; its argument is None if there is none.
    Return the holder before and after. `change` is called again if somebody else changes the holder
    at the same time, so that no change is lost. Raise StoreUnavailable.
    """
    key = key_of(kind, name)
    for _ in range(_EDITS):
        value = await records.get(KIND, key)
        before = None if value is None else parse(value)
        after = change(before)
        if await records.replace(KIND, key, value, after.dump()):
            return before, after
    raise StoreUnavailable("others change it all the time")


async def remove(records: Records, holder: Holder) -> None:
    """Remove a holder. Raise StoreUnavailable."""
    await records.put(KIND, holder.key, b"null", _TOMBSTONE_S)


class Holders:
    """Teams and users, as this process knows them."""

    def __init__(
        self, records: Records, *, report: Callable[[str], None] = lambda _: None, cap: int = CAP
    ) -> None:
        """`report` is called with the reason when the store cannot be read. `cap` is the most
        records that are kept at hand.
        """
        self.version = 0
        """Number that grows when a team or user has changed."""
        self._report = report
        self._cache = RecordCache(
            records, KIND, self._parsed, changed=self._changed, report=report, cap=cap
        )
        self._is_started = False

    @property
    def ready(self) -> bool:
        """True if the records have been read."""
        return self._cache.ready.is_set()

    def team(self, name: str) -> Holder | None:
        """Return a team, or None. Raise NotCached if it has to be fetched."""
        return self._find(key_of("team", name))

    def user(self, name: str) -> Holder | None:
        """Return a user, or None. Raise NotCached if it has to be fetched."""
        return self._find(key_of("user", name))

    async def fetch(self, owner: str, team: str | None) -> None:
        """Fetch what is not at hand of a user and a team. Raise StoreUnavailable."""
        for key in (key_of("user", owner), *([key_of("team", team)] if team else ())):
            try:
                self._find(key)
            except NotCached:
                await self._cache.fetch(key)

    def start(self) -> None:
        """Start to follow changes, unless that was done. Needs a running event loop."""
        if not self._is_started:
            self._is_started = True
            self._cache.start()

    def close(self) -> None:
        """Stop following changes."""
        self._cache.close()

    def _find(self, key: str) -> Holder | None:
        if not self.ready:
            raise NotCached
        return self._cache.find(key)

    def _parsed(self, key: str, value: bytes) -> Holder | None:
        found = parse(value)
        if found is None and value != b"null":
            self._report(f"skipped {key}: not a record of a team or user")
        return found

    def _changed(self) -> None:
        self.version += 1
