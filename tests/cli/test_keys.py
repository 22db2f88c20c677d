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


@pytest.mark.parametrize("kept_in", ["file", "store"])
def test_a_rotated_key_has_a_successor_and_an_end(
    capsys: pytest.CaptureFixture[str], file: Path, kept_in: str
) -> None:
    provider = {"type": "api_key"}
    if kept_in == "file":
        provider["file"] = str(file.with_name("keys.yaml"))
    store = {"url": f"sqlite://{file.with_name('store.db')}"}
    file.write_text(config_text(simple_config(NOWHERE), {"auth": {"k": provider}, "store": store}))
    options = ("--config", str(file))
    first = call(capsys, "keys", "create", "--owner", "ann", "--tenant", "acme", *options).out
    second = call(capsys, "keys", "rotate", first.strip(), "--overlap", "2h", *options)
    assert second.code == 0
    assert second.out != first
    listed = call(capsys, "keys", "list", "--json", *options).out
    old, new = sorted(map(json.loads, listed.splitlines()), key=lambda key: key["id"] not in first)
    assert (new["owner"], new["tenant"], new["id"] in second.out) == ("ann", "acme", True)
    assert "expires" in old
    assert "expires" not in new
    again = call(capsys, "keys", "rotate", old["id"], "--overlap", "soon", *options)
    assert (again.code, "--overlap" in again.err) == (2, True)
    assert call(capsys, "keys", "revoke", old["id"], *options).code == 0
    refused = call(capsys, "keys", "rotate", old["id"], *options)
    assert (refused.code, "is revoked" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--models", "nowhere"], "there is no model 'nowhere'"),
        (["--models", "nowhere/*"], "there is no model 'nowhere/*'"),
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


def test_a_key_is_changed_rotated_suspended_and_resumed(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    keys = {"keys": {"type": "api_key", "file": str(file.with_name("keys.yaml"))}}
    file.write_text(config_text(simple_config(NOWHERE), {"auth": keys}))
    options = ("--config", str(file))

    def run(*words: str) -> str:
        said = call(capsys, "keys", *words, *options)
        assert said.code == 0, said.err
        return said.out.strip()

    secret = run("create", "--owner", "ann", "--tags", "ci,eu", "--requests", "60/minute")
    run("change", secret, "--owner", "kim", "--tags", "", "--concurrency", "2")
    [key] = [json.loads(line) for line in run("list", "--json").splitlines()]
    assert (key["owner"], key["tags"], key["state"]) == ("kim", [], "usable")
    assert (key["allowance"]["requests"], key["allowance"]["concurrency"]) == (None, 2)
    assert run("suspend", key["id"]) == f"{key['id']}: suspended"
    assert "suspended" in run("list", "--state", "suspended")
    assert run("resume", key["id"]) == f"{key['id']}: usable"
    other = run("rotate", key["id"], "--overlap", "2h")
    assert other != secret
    listed = [json.loads(line) for line in run("list", "--json", "--owner", "kim").splitlines()]
    assert [one.get("expires") is None for one in listed] == [False, True]
    assert listed[1]["allowance"]["concurrency"] == 2


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--requests", "many"], "--requests: not a rate"),
        (["--budget", "5"], "--budget: not a budget"),
        (["--budget", "5 USD/day"], "would be forgotten"),
        (["--team", "search"], "set store.url"),
        (["--routes", "nowhere"], "there is no route 'nowhere'"),
    ],
)
def test_limits_that_a_key_cannot_have_are_a_usage_error(
    capsys: pytest.CaptureFixture[str], file: Path, options: list[str], why: str
) -> None:
    keys = {"keys": {"type": "api_key", "file": str(file.with_name("keys.yaml"))}}
    file.write_text(config_text(simple_config(NOWHERE), {"auth": keys}))
    said = call(capsys, "keys", "create", "--owner", "ann", *options, "--config", str(file))
    assert (said.code, said.out) == (2, "")
    assert why in said.err
