"""Stored form of an API key, in a file or in the store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.auth.api_key import ApiKey


class KeyRecord(BaseModel):
    """API key in plain types. Parsing an invalid record raises pydantic's ValidationError."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"[a-z0-9]{4,32}")
    hash: str = Field(pattern=r"sha256:[0-9a-f]{32}:[0-9a-f]{64}")
    owner: str = Field(min_length=1)
    created: AwareDatetime
    tenant: str | None = None
    tier: str | None = None
    models: tuple[str, ...] | None = None
    limits: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None


def from_record(record: KeyRecord) -> ApiKey:
    """Return the key that a record describes."""
    _, salt, digest = record.hash.split(":")
    return ApiKey(
        salt=bytes.fromhex(salt),
        hash=bytes.fromhex(digest),
        **record.model_dump(exclude={"hash"}),
    )


def to_record(key: ApiKey) -> dict[str, Any]:
    """Return the record of a key. Fields without a value are omitted."""
    record: dict[str, Any] = {
        "id": key.id,
        "owner": key.owner,
        "hash": f"sha256:{key.salt.hex()}:{key.hash.hex()}",
        "created": _text(key.created),
        "tenant": key.tenant,
        "tier": key.tier,
        "models": None if key.models is None else list(key.models),
        "limits": list(key.limits),
        "scopes": list(key.scopes),
        "expires": _text(key.expires),
        "revoked": _text(key.revoked),
    }
    return {name: value for name, value in record.items() if value not in (None, [])}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
