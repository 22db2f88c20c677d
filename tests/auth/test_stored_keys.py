"""API keys in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from gateway.auth import api_key, stored_keys
from gateway.auth.api_key import ApiKey
from gateway.auth.api_keys import ApiKeyProvider
from gateway.auth.provider import Rejected
from gateway.auth.stored_keys import StoredKeys
from gateway.errors import AuthUnavailable
from gateway.store import polling
from gateway.store.record_cache import RecordCache
from gateway.stores.memory.records import MemoryRecords
from tests.support.waiting import PATIENCE_S

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "EVERY_S", 0.001)


def make() -> tuple[str, ApiKey]:
    text, key_id, salt, digest = api_key.generate()
    key = ApiKey(key_id, salt, digest, "ann", NOW, "acme", "gold", ("a",), ("own",), ("s",), None)
    return text, key


async def accepted(provider: ApiKeyProvider, text: str, *, wanted: bool) -> None:
    """Wait until a key is accepted, or is not."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await provider.verify(text)
                found = True
            except (Rejected, AuthUnavailable):
                found = False
            if found is wanted:
                return
            await asyncio.sleep(0)


async def test_a_key_enters_once_it_is_put_and_until_it_is_revoked() -> None:
    records = MemoryRecords()
    provider = ApiKeyProvider("keys", StoredKeys(records, "keys"))
    provider.start()
    text, key = make()
    await stored_keys.put(records, "keys", key)
    await accepted(provider, text, wanted=True)
    principal = await provider.verify(text)
    assert (principal.subject, principal.tenant, principal.limits) == ("ann", "acme", ("own",))
    assert provider.is_valid(principal)
    await stored_keys.put(records, "keys", key.revoke(NOW))
    await accepted(provider, text, wanted=False)
    assert not provider.is_valid(principal)
    provider.close()


async def test_a_key_of_another_provider_does_not_enter() -> None:
    records = MemoryRecords()
    text, key = make()
    await stored_keys.put(records, "others", key)
    own_text, own = make()
    await stored_keys.put(records, "keys", own)
    provider = ApiKeyProvider("keys", StoredKeys(records, "keys"))
    provider.start()
    await accepted(provider, own_text, wanted=True)
    with pytest.raises(Rejected, match="unknown key"):
        await provider.verify(text)
    provider.close()


async def test_before_the_store_was_read_nobody_can_tell() -> None:
    provider = ApiKeyProvider("keys", StoredKeys(MemoryRecords(), "keys"))
    with pytest.raises(AuthUnavailable):
        await provider.verify(make()[0])


async def test_a_record_that_is_no_key_is_skipped_and_said() -> None:
    records, said = MemoryRecords(), list[str]()
    await records.put(stored_keys.kind_of("keys"), "bad", b'{"hash": "canary7f3a"}')
    text, key = make()
    await stored_keys.put(records, "keys", key)
    provider = ApiKeyProvider("keys", StoredKeys(records, "keys", report=said.append))
    provider.start()
    await accepted(provider, text, wanted=True)
    assert said == ["skipped key bad: not a record of a key"]
    provider.close()


def test_what_is_kept_of_a_key_reads_back_as_it_was() -> None:
    _, key = make()
    expiring = ApiKey(key.id, key.salt, key.hash, "bob", NOW, expires=NOW, revoked=NOW)
    for one in (key, expiring):
        record = stored_keys.dump(one)
        assert stored_keys.parse(record) == one


class CountingRecords(MemoryRecords):
    """Counts what it is asked for single records and pages."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def get(self, kind: str, key: str) -> bytes | None:
        self.asked += 1
        return await super().get(kind, key)

    async def page(self, kind: str, after: str, limit: int) -> Mapping[str, bytes]:
        self.asked += 1
        return await super().page(kind, after, limit)


async def test_a_key_of_very_many_is_read_once_and_a_change_reads_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(RecordCache.__init__.__kwdefaults__ or {}, "cap", 100)
    records, made = CountingRecords(), [make() for _ in range(300)]
    for _, key in made:
        await stored_keys.put(records, "keys", key)
    provider = ApiKeyProvider("keys", StoredKeys(records, "keys"))
    provider.start()
    await accepted(provider, made[0][0], wanted=True)
    records.asked = 0
    for text, _ in made[:50]:
        await provider.verify(text)
    assert records.asked == 49
    for text, _ in made[:50]:
        assert provider.verify_now(text) is not None
    with pytest.raises(Rejected):
        await provider.verify(make()[0])
    assert records.asked == 50
    await stored_keys.put(records, "keys", made[0][1].revoke(NOW))
    await accepted(provider, made[0][0], wanted=False)
    assert records.asked == 51
    provider.close()
