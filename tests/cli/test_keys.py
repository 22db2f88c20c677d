"""`gateway keys`: lists of keys for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import NOWHERE, call
from tests.support.gateway import config_text, simple_config


def test_keys_are_listed_for_programs(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    keys = {"keys": {"type": "api_key", "file": "keys.yaml"}}
    file.write_text(config_text(simple_config(NOWHERE), {"auth": keys}))
    secret = call(capsys, "keys", "create", "--owner", "ann", "--config", str(file)).out.strip()
    said = call(capsys, "keys", "list", "--json", "--config", str(file))
    [key] = map(json.loads, said.out.splitlines())
    assert (key["owner"], key["state"]) == ("ann", "usable")
    assert "hash" not in key
    assert secret not in said.out


def test_a_revoked_key_is_listed_as_revoked(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    keys = {"keys": {"type": "api_key", "file": str(file.with_name("keys.yaml"))}}
    file.write_text(config_text(simple_config(NOWHERE), {"auth": keys}))
    options = ("--config", str(file))
    secret = call(capsys, "keys", "create", "--owner", "ann", "--expires", "90d", *options).out
    assert call(capsys, "keys", "revoke", secret.strip(), *options).code == 0
    [key] = map(json.loads, call(capsys, "keys", "list", "--json", *options).out.splitlines())
    assert (key["owner"], key["state"]) == ("ann", "revoked")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--models", "nowhere"], "there is no model 'nowhere'"),
        (["--limits", "nowhere"], "there is no limit 'nowhere'"),
        (["--expires", "soon"], "--expires: "),
        (["--provider", "nowhere"], "nowhere"),
    ],
)
def test_a_key_that_cannot_be_made_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], file: Path, options: list[str], why: str
) -> None:
    keys = {"keys": {"type": "api_key", "file": str(file.with_name("keys.yaml"))}}
    file.write_text(config_text(simple_config(NOWHERE), {"auth": keys}))
    said = call(capsys, "keys", "create", "--owner", "ann", *options, "--config", str(file))
    assert (said.code, said.out) == (2, "")
    assert why in said.err
