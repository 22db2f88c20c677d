"""Orders to make and change teams and users, checked against the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from gateway.admin.bad_input import BadInput
from gateway.admin.holder_documents import TeamSettings, UserSettings
from gateway.admin.key_orders import check_allowance, check_names, lifetime, parsed
from gateway.admin.record_version import version_of
from gateway.auth import holders
from gateway.auth.holders import TEAM_NAME, Holder, HolderKind
from gateway.config import Config
from gateway.store.records import Records

_PAGE = 1000
_SCANNED = 20_000
"""Number of records that one call reads at most; it then returns the matches so far."""


def ordered(
    config: Config,
    kind: HolderKind,
    name: str,
    data: bytes | Mapping[str, Any],
    before: Holder | None,
    now: datetime,
) -> Holder:
    """Return the team or user that an order describes, which replaces the former one. Raise
    BadInput.
    """
    if kind == "team" and not re.fullmatch(TEAM_NAME, name):
        raise BadInput("name: use letters, digits, dots, hyphens and underscores, 64 at most")
    settings = parsed(TeamSettings if kind == "team" else UserSettings, data)
    check_names(config, models=settings.models)
    fields = dict(settings)
    for place in ("limits", "per_user", "per_key"):
        if place in fields:
            check_allowance(config, place, fields[place])
    if (text := fields.pop("key_lifetime", None)) is not None:
        fields["key_lifetime_s"] = lifetime("key_lifetime", text).total_seconds()
    created = now if before is None else before.created
    suspended = None if before is None else before.suspended
    try:
        return Holder(kind=kind, name=name, created=created, suspended=suspended, **fields)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        why = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"{'.'.join(map(str, first['loc']))}: {why}") from None


def document(holder: Holder) -> dict[str, Any]:
    """Return a team or user with every field of its kind."""
    fields = holder.model_dump(mode="json", exclude={"kind"})
    fields["version"] = version_of(holder.dump())
    lifetime_s = fields.pop("key_lifetime_s")
    if holder.kind == "user":
        for name in ("per_user", "per_key", "user_keys"):
            del fields[name]
        return fields
    return {**fields, "key_lifetime": None if lifetime_s is None else f"{lifetime_s:.0f}s"}


def difference(
    before: Holder | None, after: Holder | None
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """Return the changed fields, before and after a change. None stands for a missing record."""
    old = {} if before is None else before.model_dump(mode="json", exclude_defaults=True)
    new = {} if after is None else after.model_dump(mode="json", exclude_defaults=True)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return (
        None if before is None else {name: old.get(name) for name in names},
        None if after is None else {name: new.get(name) for name in names},
    )


async def find(records: Records, kind: HolderKind, name: str) -> Holder | None:
    """Return a team or user, or None. Raise StoreUnavailable."""
    value = await records.get(holders.KIND, holders.key_of(kind, name))
    return None if value is None else holders.parse(value)


async def page(
    records: Records, kind: HolderKind, after: str, limit: int, text: str = ""
) -> tuple[list[Holder], str | None]:
    """Return a page of teams or users, and what `after` has to be for the next page, or None.
    `text` keeps those whose name contains it, in any case. A page may be shorter than `limit`
    although another one follows, because a call looks at a bounded number of records. Raise
    StoreUnavailable.
    """
    found: list[Holder] = []
    place, prefix, seen = holders.key_of(kind, after), holders.key_of(kind, ""), 0
    while len(found) < limit and seen < _SCANNED:
        values = await records.page(holders.KIND, place, _PAGE if text else limit - len(found))
        for place, value in values.items():
            if not place.startswith(prefix):
                return found, None
            holder = holders.parse(value)
            if holder is not None and text.lower() in holder.name.lower():
                found.append(holder)
                if len(found) == limit:
                    break
        seen += len(values)
        if not values:
            return found, None
    return found, place.removeprefix(prefix)
