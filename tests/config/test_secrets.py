"""Secrets: where they come from, and that nothing shows them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config import ConfigError, load_text
from gateway.config.secrets import Secret

CANARY = "canary-91c2-of-thirty-two-or-more-bytes"


def read(base: Path, **fields: Any) -> Secret:
    return Secret.model_validate(fields, context={"base": base})


def test_one_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TEST_SECRET", CANARY)
    assert read(tmp_path, env="GATEWAY_TEST_SECRET").reveal() == CANARY.encode()


def test_one_from_a_file_without_its_last_newline(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY + "\n")
    assert read(tmp_path, file="key").reveal() == CANARY.encode()


def test_one_that_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    made = read(tmp_path, file="deep/key", generate=True)
    again = read(tmp_path, file="deep/key", generate=True)
    assert made.reveal() == again.reveal()
    assert len(made.reveal()) >= 32
    assert stat.S_IMODE((tmp_path / "deep/key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "either `env` or `file`"),
        ({"env": "A", "file": "b"}, "either `env` or `file`"),
        ({"env": "GATEWAY_TEST_NOT_SET"}, "GATEWAY_TEST_NOT_SET is not set"),
        ({"file": "none"}, "cannot read none: No such file"),
        ({"file": "empty"}, "empty is empty"),
        ({"env": "A", "generate": True}, "`generate` needs `file`"),
        ({"value": CANARY}, "Extra inputs"),
    ],
)
def test_one_that_cannot_be_had_says_why(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ValidationError, match=reason):
        read(tmp_path, **fields)


def test_nothing_shows_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY)
    secret = read(tmp_path, file="key")
    shown = [repr(secret), str(secret), f"{secret}", secret.model_dump_json()]
    shown += [json.dumps(secret.model_dump()), repr({"secret": secret})]
    assert CANARY not in "".join(shown)


def test_an_error_of_the_file_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TEST_SECRET", f"{CANARY}\nInjected: yes")
    with pytest.raises(ConfigError) as caught:
        load_text(
            "upstreams: {a: {endpoints: [{url: 'http://x'}], "
            "credentials: {bearer: {env: GATEWAY_TEST_SECRET}}}}\n"
            "routes: [{name: a, path: /, auth: anonymous, upstream: a}]"
        )
    assert "holds characters a header cannot" in str(caught.value)
    assert CANARY not in str(caught.value)
