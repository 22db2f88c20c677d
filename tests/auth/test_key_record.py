"""Records of API keys: they come back as they were stored, and bad ones are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.auth.api_key import ApiKey
from gateway.auth.key_record import KeyRecord, from_record, to_record

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BARE = ApiKey(id="abcd", salt=b"s" * 16, hash=b"h" * 32, owner="ann", created=NOON)
FULL = replace(
    BARE,
    tenant="acme",
    tier="gold",
    models=("a", "b"),
    limits=("own",),
    scopes=("chat",),
    expires=NOON + timedelta(days=1),
    revoked=NOON + timedelta(hours=1),
)


@pytest.mark.parametrize("key", [BARE, FULL], ids=["bare", "full"])
def test_a_key_comes_back_from_its_record(key: ApiKey) -> None:
    assert from_record(KeyRecord.model_validate(to_record(key))) == key


def test_fields_without_a_value_are_left_out() -> None:
    assert to_record(BARE).keys() == {"id", "owner", "hash", "created"}


@pytest.mark.parametrize(
    "change",
    [
        {"id": "ab"},
        {"id": "ABCD"},
        {"hash": "sha256:00:00"},
        {"hash": "md5:" + "0" * 32 + ":" + "0" * 64},
        {"owner": ""},
        {"created": "2026-01-01T12:00:00"},
        {"surprise": 1},
    ],
)
def test_a_bad_record_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        KeyRecord.model_validate(to_record(BARE) | change)
