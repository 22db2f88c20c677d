"""Files of API keys: private, watched, and never half written."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.auth import api_key
from gateway.auth.api_key import ApiKey
from gateway.auth.key_file import BadKeyFile, KeyFile, editing, read

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def made(**fields: object) -> tuple[str, ApiKey]:
    text, key_id, salt, digest = api_key.generate()
    return text, ApiKey(key_id, salt, digest, "ann", NOW, **fields)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def test_the_file_holds_no_secret_and_is_for_its_owner_only(file: Path) -> None:
    text, key = made(expires=NOW)
    with editing(file) as keys:
        keys[key.id] = key
    parts = api_key.split(text)
    assert parts is not None
    assert parts[1] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert read(file) == {key.id: key}


def test_a_change_of_the_file_is_seen_within_half_a_second(file: Path) -> None:
    _, key = made()
    times = iter([0.0, 0.1, 0.6])
    known = KeyFile(file, now=lambda: next(times))
    with editing(file) as keys:
        keys[key.id] = key
    assert known.find(key.id) is None
    assert known.find(key.id) == key


def test_a_file_that_became_unreadable_leaves_the_keys_as_they_were(file: Path) -> None:
    _, key = made()
    with editing(file) as keys:
        keys[key.id] = key
    reports: list[str] = []
    times = iter([0.0, 1.0, 2.0])
    known = KeyFile(file, now=lambda: next(times), report=reports.append)
    file.write_text("keys: [{id: x}]")
    assert known.find(key.id) == key
    assert "the keys stay as they were" in reports[0]


@pytest.mark.parametrize("text", ["[", "keys: 1", "keys: [{id: x}]", "other: 1"])
def test_a_file_that_is_none_says_why_and_shows_nothing(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(BadKeyFile, match=r"keys\.yaml"):
        read(file)


def clear_and_fail(file: Path) -> None:
    with editing(file) as keys:
        keys.clear()
        raise ZeroDivisionError


def test_an_edit_that_fails_changes_nothing(file: Path) -> None:
    _, key = made()
    with editing(file) as keys:
        keys[key.id] = key
    before = file.read_bytes()
    with pytest.raises(ZeroDivisionError):
        clear_and_fail(file)
    assert file.read_bytes() == before
    assert sorted(os.listdir(file.parent)) == ["keys.yaml", "keys.yaml.lock"]
