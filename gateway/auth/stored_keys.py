"""API keys in the store, for replicas that do not share a file."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from pydantic import ValidationError

from gateway.auth.api_key import ApiKey
from gateway.auth.key_record import KeyRecord, from_record, to_record
from gateway.errors import AuthUnavailable
from gateway.store.record_cache import RecordCache
from gateway.store.records import Records


class StoredKeys:
    """API keys of one provider, by id. They are at most half a second old while the store works."""

    def __init__(
        self, records: Records, provider: str, *, report: Callable[[str], None] = lambda _: None
    ) -> None:
        """Create the key store without reading. If keys cannot be read, the keys before them stay
        in use, and `report` is called with the reason.
        """
        self._report = report
        self._cache = RecordCache(records, kind_of(provider), self._parsed, report=report)

    def find(self, key_id: str) -> ApiKey | None:
        if not self._cache.ready.is_set():
            raise AuthUnavailable("the keys were not read yet")
        return self._cache.find(key_id)

    async def fetch(self, key_id: str) -> None:
        await self._cache.fetch(key_id)

    @property
    def ready(self) -> bool:
        return self._cache.ready.is_set()

    def start(self) -> None:
        self._cache.start()

    def close(self) -> None:
        self._cache.close()

    def _parsed(self, key_id: str, value: bytes) -> ApiKey | None:
        key = parse(value)
        if key is None:
            self._report(f"skipped key {key_id}: not a record of a key")
        return key


def kind_of(provider: str) -> str:
    """Return the kind of the records with a provider's keys."""
    return f"key:{provider}"


def parse(value: bytes) -> ApiKey | None:
    """Return the key of a record, or None if it cannot be parsed."""
    try:
        return from_record(KeyRecord.model_validate_json(value))
    except ValidationError:
        return None


def dump(key: ApiKey) -> bytes:
    """Return the stored form of a key."""
    return orjson.dumps(to_record(key))


async def put(records: Records, provider: str, key: ApiKey) -> None:
    """Store a new or changed key. Raise StoreUnavailable."""
    await records.put(kind_of(provider), key.id, dump(key))
