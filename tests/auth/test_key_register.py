"""Registers of API keys: changes by several editors at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.auth import api_key, stored_keys
from gateway.auth.api_key import ApiKey
from gateway.auth.key_register import FileRegister, KeyRegister, StoreRegister, rotated
from gateway.store.records import StoreUnavailable
from gateway.stores.sqlite.records import SqliteRecords

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EDITORS = 12


@pytest.fixture(params=["file", "store"])
def register(request: pytest.FixtureRequest, tmp_path: Path) -> KeyRegister:
    if request.param == "file":
        return FileRegister(tmp_path / "keys.yaml")
    return StoreRegister(lambda: SqliteRecords(tmp_path / "store.db"), "keys")


def made() -> ApiKey:
    _, key_id, salt, digest = api_key.generate()
    return ApiKey(key_id, salt, digest, "ann", NOW)


async def test_edits_of_one_key_at_once_are_all_kept(register: KeyRegister) -> None:
    key = made()
    await register.add(key)

    def tag(name: str) -> Callable[[ApiKey], list[ApiKey]]:
        return lambda old: [replace(old, tags=(*old.tags, name))]

    names = [f"t{number}" for number in range(EDITORS)]
    await asyncio.gather(*(register.edit(key.id, tag(name)) for name in names))
    found = await register.get(key.id)
    assert found is not None
    assert sorted(found.tags) == sorted(names)


async def test_a_rotation_leaves_the_new_key_and_the_ending_one(register: KeyRegister) -> None:
    key = made()
    await register.add(key)

    def rotate(old: ApiKey) -> list[ApiKey]:
        _, new, ending = rotated(old, NOW, timedelta(hours=1))
        return [ending, new]

    await asyncio.gather(*(register.edit(key.id, rotate) for _ in range(4)))
    keys = {one.id: one for one in await register.page("", 100)}
    # Every rotation that ended left its key, and none left one without an owner who was told.
    assert len(keys) == 5
    assert keys[key.id].expires == NOW + timedelta(hours=1)
    assert {one.line for one in keys.values() if one.id != key.id} == {key.id}


async def test_an_edit_that_is_refused_changes_nothing(register: KeyRegister) -> None:
    key = made()
    await register.add(key)

    def refuse(old: ApiKey) -> list[ApiKey]:
        raise LookupError

    with pytest.raises(LookupError):
        await register.edit(key.id, refuse)
    assert await register.get(key.id) == key
    assert await register.edit("nothing", refuse) is None


async def test_a_key_that_others_change_all_the_time_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    records = SqliteRecords(path)
    key = made()
    await stored_keys.put(records, "keys", key)
    register = StoreRegister(lambda: Restless(path), "keys")
    with pytest.raises(StoreUnavailable):
        await register.edit(key.id, lambda old: [replace(old, tier="gold"), made()])
    assert list(await register.page("", 10)) == [key]
    await records.close()


class Restless(SqliteRecords):
    """A store in which somebody else is always faster."""

    async def replace(self, kind: str, key: str, before: bytes | None, value: bytes) -> bool:
        return False
