"""Stored form of an API key, in a file or in the store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.auth.allowance import NOTHING_LIMITED, Allowance
from gateway.auth.api_key import ApiKey


class KeyRecord(BaseModel):
    """API key in plain types. Parsing an invalid record raises pydantic's ValidationError."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"[a-z0-9]{4,32}")
    owner: str = Field(min_length=1)
    hash: str = Field(pattern=r"sha256:[0-9a-f]{32}:[0-9a-f]{64}")
    created: AwareDatetime
    tenant: str | None = None
    tier: str | None = None
    models: tuple[str, ...] | None = None
    limits: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    suspended: AwareDatetime | None = None
    team: str | None = None
    tags: tuple[str, ...] = ()
    routes: tuple[str, ...] | None = None
    allowance: Allowance = NOTHING_LIMITED
    line: str | None = None


def from_record(record: KeyRecord) -> ApiKey:
    """Return the key that a record describes."""
    _, salt, digest = record.hash.split(":")
    fields = {name: value for name, value in record if name != "hash"}
    return ApiKey(salt=bytes.fromhex(salt), hash=bytes.fromhex(digest), **fields)


def to_record(key: ApiKey) -> dict[str, Any]:
    """Return the record of a key. Fields without a value are omitted."""
    record: dict[str, Any] = {
        **{name: _plain(getattr(key, name)) for name in KeyRecord.model_fields},
        "hash": f"sha256:{key.salt.hex()}:{key.hash.hex()}",
        # Lists are in this order, and a second may see several keys.
        "created": key.created.astimezone(UTC).isoformat(timespec="milliseconds"),
        "allowance": key.allowance.record(),
    }
    # An empty list of models or routes allows none, which differs from no list.
    return {
        name: value
        for name, value in record.items()
        if value not in (None, [], {}) or (value == [] and name in ("models", "routes"))
    }


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    return list(value) if isinstance(value, tuple) else value
