"""`gateway teams` and `gateway users`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import NOWHERE, call
from tests.support.gateway import config_text, simple_config


def configured(file: Path, *, shared: bool = True) -> tuple[str, str]:
    store = {"store": {"url": f"sqlite://{file.with_name('store.db')}"}} if shared else {}
    file.write_text(config_text(simple_config(NOWHERE), store))
    return "--config", str(file)


def test_a_team_is_set_listed_suspended_and_deleted(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    options = configured(file)

    def run(*words: str) -> str:
        said = call(capsys, "teams", *words, *options)
        assert said.code == 0, said.err
        return said.out.strip()

    settings = ("--budget", "9 tokens/day", "--budget", "90 tokens/month", "--warn-at", "0.8")
    more = ("--user-requests", "5/minute", "--key-concurrency", "2", "--own-keys", "3")
    assert run("set", "search", *settings, *more) == "search: created"
    assert run("set", "search", *settings, *more, "--own-keys-expire", "30d") == "search: changed"
    [team] = map(json.loads, run("list", "--json").splitlines())
    assert (team["name"], team["limits"]["budgets"]) == (
        "search",
        ["9 tokens/day", "90 tokens/month"],
    )
    assert (team["per_user"]["requests"], team["per_key"]["concurrency"]) == ("5/minute", 2)
    assert (team["user_keys"], team["key_lifetime"]) == (3, "2592000s")
    assert run("suspend", "search") == "search: suspended"
    assert "suspended" in run("list")
    assert run("resume", "search") == "search: resumed"
    assert run("delete", "search") == "search: deleted"
    assert run("list", "--json") == ""


def test_a_user_has_limits_of_its_own(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    options = configured(file)
    assert call(capsys, "users", "set", "ann", "--requests", "5/minute", *options).code == 0
    [user] = call(capsys, "users", "list", "--json", *options).out.splitlines()
    assert json.loads(user)["limits"]["requests"] == "5/minute"
    assert "per_user" not in json.loads(user)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["set", "a b"], "name: use letters"),
        (["set", "a", "--models", "nowhere"], "models: "),
        (["set", "a", "--budget", "many"], "not a budget"),
        (["suspend", "nobody"], "there is no team 'nobody'"),
    ],
)
def test_a_team_that_cannot_be_set_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], file: Path, words: list[str], why: str
) -> None:
    said = call(capsys, "teams", *words, *configured(file))
    assert (said.code, said.out) == (2, "")
    assert why in said.err


def test_teams_need_a_store_that_processes_share(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    said = call(capsys, "teams", "list", *configured(file, shared=False))
    assert (said.code, "store.url" in said.err) == (2, True)
