"""API keys: their format, and that no two are equal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.auth import api_key
from gateway.auth.api_key import ApiKey

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@given(st.text())
def test_only_what_has_the_form_of_a_key_is_looked_up(text: str) -> None:
    assert api_key.split(text) is None


def test_keys_do_not_repeat() -> None:
    assert len({api_key.generate()[0] for _ in range(1000)}) == 1000


def test_a_key_is_split_into_the_id_and_secret_that_its_record_matches() -> None:
    key, key_id, salt, digest = api_key.generate()
    parts = api_key.split(key)
    assert parts is not None
    assert parts[0] == key_id
    record = ApiKey(id=key_id, salt=salt, hash=digest, owner="ann", created=NOON)
    assert record.matches(parts[1])
    assert not record.matches(parts[1][:-1])
    assert parts[1].encode() not in salt + digest


def test_a_key_is_usable_until_it_expires_or_is_revoked() -> None:
    _, key_id, salt, digest = api_key.generate()
    key = ApiKey(id=key_id, salt=salt, hash=digest, owner="ann", created=NOON)
    assert key.usable(NOON + timedelta(days=10_000))
    expiring = replace(key, expires=NOON + timedelta(hours=1))
    assert [expiring.usable(NOON + timedelta(minutes=one)) for one in (59, 60)] == [True, False]
    assert not key.revoke(NOON).usable(NOON)
