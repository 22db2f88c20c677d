"""Reading and writing the API keys of one provider, wherever they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from gateway.auth import stored_keys
from gateway.auth.api_key import ApiKey, generate
from gateway.auth.key_file import editing, read
from gateway.store.records import Records, StoreUnavailable

_PAGE = 1000
_SCANNED = 20_000
"""Number of keys after which a call returns what it has found."""
_EDITS = 100
"""Attempts to change a record that others change at the same time."""


Edit = Callable[[ApiKey], Sequence[ApiKey]]
"""Function that returns a changed key, and new keys."""


class KeyRegister(Protocol):
    """Keys of one provider. Methods raise BadKeyFile, StoreUnavailable, or OSError."""

    async def get(self, key_id: str) -> ApiKey | None:
        """Return a key, or None."""

    async def page(self, after: str, limit: int) -> Sequence[ApiKey]:
        """Return the first `limit` keys whose ids are greater than `after`, in order of the ids."""

    async def add(self, key: ApiKey) -> None:
        """Store a new key."""

    async def edit(self, key_id: str, edit: Edit) -> tuple[ApiKey, ApiKey] | None:
        """Replace a key by the first of the keys that `edit` returns for it, and store the others,
        which are new. Return the key before and after, or None if there is none. `edit` is called
        again if somebody else changes the key at the same time, so that no change is lost.
        """


class FileRegister:
    """Keys in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def get(self, key_id: str) -> ApiKey | None:
        return (await asyncio.to_thread(read, self._path)).get(key_id)

    async def page(self, after: str, limit: int) -> Sequence[ApiKey]:
        keys = await asyncio.to_thread(read, self._path)
        return [keys[key_id] for key_id in sorted(keys) if key_id > after][:limit]

    async def add(self, key: ApiKey) -> None:
        await asyncio.to_thread(self._add, key)

    async def edit(self, key_id: str, edit: Edit) -> tuple[ApiKey, ApiKey] | None:
        return await asyncio.to_thread(self._edit, key_id, edit)

    def _add(self, key: ApiKey) -> None:
        with editing(self._path) as keys:
            keys[key.id] = key

    def _edit(self, key_id: str, edit: Edit) -> tuple[ApiKey, ApiKey] | None:
        with editing(self._path) as keys:
            old = keys.get(key_id)
            if old is None:
                return None
            changed = edit(old)
            keys.update((key.id, key) for key in changed)
        return old, changed[0]


class StoreRegister:
    """Keys in the store, for replicas that do not share a file. It is opened for each call."""

    def __init__(self, open_records: Callable[[], Records], provider: str) -> None:
        self._open_records = open_records
        self._kind = stored_keys.kind_of(provider)
        self._provider = provider

    async def get(self, key_id: str) -> ApiKey | None:
        async with opened(self._open_records) as records:
            value = await records.get(self._kind, key_id)
        return None if value is None else stored_keys.parse(value)

    async def page(self, after: str, limit: int) -> Sequence[ApiKey]:
        async with opened(self._open_records) as records:
            found: list[ApiKey] = []
            while len(found) < limit and (
                page := await records.page(self._kind, after, limit - len(found))
            ):
                parsed = map(stored_keys.parse, page.values())
                found += [key for key in parsed if key is not None]
                after = max(page)
        return found

    async def add(self, key: ApiKey) -> None:
        async with opened(self._open_records) as records:
            await stored_keys.put(records, self._provider, key)

    async def edit(self, key_id: str, edit: Edit) -> tuple[ApiKey, ApiKey] | None:
        async with opened(self._open_records) as records:
            for _ in range(_EDITS):
                value = await records.get(self._kind, key_id)
                old = None if value is None else stored_keys.parse(value)
                if old is None:
                    return None
                new, *others = edit(old)
                for key in others:
                    await stored_keys.put(records, self._provider, key)
                if await records.replace(self._kind, key_id, value, stored_keys.dump(new)):
                    return old, new
                for key in others:
                    await records.take(self._kind, key.id)
        raise StoreUnavailable("others change the key all the time")


@asynccontextmanager
async def opened(open_records: Callable[[], Records]) -> AsyncIterator[Records]:
    """Open records, and close them at the end."""
    records = open_records()
    try:
        yield records
    finally:
        await records.close()


@dataclass(frozen=True, slots=True)
class Filter:
    """Filter of a list of keys. None: no filter."""

    owner: str | None = None
    team: str | None = None
    tag: str | None = None
    state: str | None = None
    text: str | None = None
    """Text in the id, owner, tenant, team or a tag, in any case."""

    def fits(self, key: ApiKey, now: datetime) -> bool:
        """Tell whether a key is in the list."""
        return (
            self.owner in (None, key.owner)
            and self.team in (None, key.team)
            and (self.tag is None or self.tag in key.tags)
            and (self.state is None or self.state == key.state(now))
            and (self.text is None or self.text.lower() in _words(key))
        )


def _words(key: ApiKey) -> str:
    return " ".join((key.id, key.owner, key.tenant or "", key.team or "", *key.tags)).lower()


async def listed(
    register: KeyRegister, wanted: Filter, now: datetime, *, after: str = "", limit: int = 1000
) -> tuple[list[ApiKey], str | None]:
    """Return a page of keys, the oldest of the page first, and what `after` has to be for the next
    page, or None. A page may be shorter than `limit` although another one follows, because a call
    looks at a bounded number of keys. A text that is the id of a key finds that key at once.
    """
    if wanted.text and not after:
        key = await register.get(wanted.text.lower())
        if key is not None and wanted.fits(key, now):
            return [key], None
    found: list[ApiKey] = []
    seen = 0
    page: Sequence[ApiKey] = ()
    while len(found) <= limit and seen < _SCANNED:
        page = await register.page(after, _PAGE)
        found += [key for key in page if wanted.fits(key, now)]
        seen += len(page)
        if len(page) < _PAGE:
            break
        after = page[-1].id
    is_whole = len(page) < _PAGE and len(found) <= limit
    more = None if is_whole else found[limit - 1].id if len(found) > limit else after
    found = found[:limit]
    found.sort(key=lambda key: (key.created, key.id))
    return found, more


def rotated(old: ApiKey, now: datetime, overlap: timedelta) -> tuple[str, ApiKey, ApiKey]:
    """Replace a key: return the new secret, its key, and the old key, which expires after the
    overlap. The new key has the settings of the old one, and its lifetime from now on.
    """
    secret, key_id, salt, digest = generate()
    lifetime = None if old.expires is None else old.expires - old.created
    new = replace(
        old,
        id=key_id,
        salt=salt,
        hash=digest,
        created=now,
        expires=None if lifetime is None else now + lifetime,
        revoked=None,
        line=old.line or old.id,
    )
    ends = now + overlap if old.expires is None else min(old.expires, now + overlap)
    return secret, new, replace(old, expires=ends)
