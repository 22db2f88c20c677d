"""API keys: made, kept as hashes, checked, revoked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.auth import api_key
from gateway.auth.api_key import ApiKey
from gateway.auth.api_keys import ApiKeyProvider
from gateway.auth.key_file import KeyFile, editing
from gateway.auth.provider import Rejected

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def made(**fields: object) -> tuple[str, ApiKey]:
    text, key_id, salt, digest = api_key.generate()
    return text, ApiKey(key_id, salt, digest, "ann", NOW, **fields)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def provider(file: Path, now: datetime = NOW) -> ApiKeyProvider:
    return ApiKeyProvider("keys", KeyFile(file, now=lambda: 0.0), now=lambda: now)


async def test_a_key_names_its_owner_and_what_it_may(file: Path) -> None:
    text, key = made(tenant="acme", tier="gold", models=("m",), limits=("l",), scopes=("s",))
    with editing(file) as keys:
        keys[key.id] = key
    principal = await provider(file).verify(text)
    assert (principal.subject, principal.tenant, principal.tier) == ("ann", "acme", "gold")
    assert principal.models == frozenset({"m"})
    assert principal.limits == ("l",)
    assert principal.scopes == frozenset({"s"})
    assert principal.key_id == key.id


async def test_a_wrong_secret_an_unknown_id_and_junk_are_rejected(file: Path) -> None:
    text, key = made()
    other, _ = made()
    with editing(file) as keys:
        keys[key.id] = key
    for wrong in (text[:-1] + ("a" if text[-1] != "a" else "b"), other, "sk-gw-", "", text + "x"):
        with pytest.raises(Rejected) as caught:
            await provider(file).verify(wrong)
        assert len(wrong) < 10 or wrong not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"expires": NOW}, "expired"), ({"revoked": NOW - timedelta(1)}, "revoked")],
)
async def test_a_key_past_its_time_is_rejected(
    file: Path, fields: dict[str, datetime], reason: str
) -> None:
    text, key = made(**fields)
    with editing(file) as keys:
        keys[key.id] = key
    with pytest.raises(Rejected, match=reason):
        await provider(file).verify(text)


def test_a_key_is_verified_at_once_and_a_changed_key_has_another_principal(file: Path) -> None:
    text, key = made(tier="gold")
    with editing(file) as keys:
        keys[key.id] = key
    clock = 0.0
    by = ApiKeyProvider("keys", KeyFile(file, now=lambda: clock), now=lambda: NOW)
    principal = by.verify_now(text)
    assert by.verify_now(text) is principal
    with pytest.raises(Rejected, match="wrong secret"):
        by.verify_now(text[:-1] + ("a" if text[-1] != "a" else "b"))
    with editing(file) as keys:
        keys[key.id] = replace(key, tier="silver")
    clock += 1.0
    changed = by.verify_now(text)
    assert changed is not None
    assert changed.tier == "silver"
    with editing(file) as keys:
        keys[key.id] = key.revoke(NOW)
    clock += 1.0
    with pytest.raises(Rejected, match="revoked"):
        by.verify_now(text)


def test_a_key_verified_before_is_rejected_once_it_expires(file: Path) -> None:
    text, key = made(expires=NOW + timedelta(1))
    with editing(file) as keys:
        keys[key.id] = key
    now = NOW
    by = ApiKeyProvider("keys", KeyFile(file, now=lambda: 0.0), now=lambda: now)
    by.verify_now(text)
    now += timedelta(1)
    with pytest.raises(Rejected, match="expired"):
        by.verify_now(text)
