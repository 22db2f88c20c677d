"""API keys in the store, for replicas that do not share a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson
from pydantic import ValidationError

from gateway.auth.api_key import ApiKey
from gateway.auth.key_record import KeyRecord, from_record, to_record
from gateway.errors import AuthUnavailable
from gateway.store.record_watcher import RecordWatcher
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
        self._keys: Mapping[str, ApiKey] = {}
        self._watcher = RecordWatcher(
            records, kind_of(provider), changed=self._changed, report=report
        )

    def find(self, key_id: str) -> ApiKey | None:
        if not self._watcher.ready.is_set():
            raise AuthUnavailable("the keys were not read yet")
        return self._keys.get(key_id)

    @property
    def ready(self) -> bool:
        return self._watcher.ready.is_set()

    def start(self) -> None:
        self._watcher.start()

    def close(self) -> None:
        self._watcher.close()

    def _changed(self, found: Mapping[str, bytes]) -> None:
        keys, bad = parse(found)
        self._keys = keys
        for key_id in bad:
            self._report(f"skipped key {key_id}: not a record of a key")


def kind_of(provider: str) -> str:
    """Return the kind of the records with a provider's keys."""
    return f"key:{provider}"


def parse(found: Mapping[str, bytes]) -> tuple[Mapping[str, ApiKey], list[str]]:
    """Return the keys by id, and the ids of the records that cannot be parsed."""
    keys, bad = {}, []
    for key_id, value in found.items():
        try:
            keys[key_id] = from_record(KeyRecord.model_validate_json(value))
        except ValidationError:
            bad.append(key_id)
    return keys, bad


def dump(key: ApiKey) -> bytes:
    """Return the stored form of a key."""
    return orjson.dumps(to_record(key))


async def put(records: Records, provider: str, key: ApiKey) -> None:
    """Store a new or changed key. Raise StoreUnavailable."""
    await records.put(kind_of(provider), key.id, dump(key))
