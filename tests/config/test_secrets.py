"""Secrets: where they come from, and that nothing shows them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config import ConfigError, load, load_text
from gateway.config.secrets import Secret

CANARY = "canary-91c2-of-thirty-two-or-more-bytes"
WITH_BEARER = """\
upstreams:
  a:
    credentials: {{bearer: {{{}}}}}
    endpoints: [{{url: "http://x"}}]
routes: [{{name: a, path: /, auth: anonymous, upstream: a}}]
"""
MISSING_PROVIDER = """\
auth: {p: {type: jwt, issuer: i, audience: a, algorithm: HS256,
    secret: {file: none}}}
"""


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


def test_a_made_one_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        read(tmp_path, file="key", generate=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_made_ones_differ(tmp_path: Path) -> None:
    made = {read(tmp_path, file=f"key-{n}", generate=True).reveal() for n in range(5)}
    assert len(made) == 5


def test_a_file_that_is_there_is_never_made_anew(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY)
    assert read(tmp_path, file="key", generate=True).reveal() == CANARY.encode()
    assert (tmp_path / "key").read_text() == CANARY


def test_an_empty_file_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    with pytest.raises(ValidationError, match="key is empty"):
        read(tmp_path, file="key", generate=True)
    assert (tmp_path / "key").read_bytes() == b""


def test_a_file_is_seen_from_the_configurations_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/key").write_text(CANARY)
    (tmp_path / "etc/gateway.yaml").write_text(WITH_BEARER.format("file: key"))
    monkeypatch.chdir(tmp_path)
    credentials = load(Path("etc/gateway.yaml")).upstreams["a"].credentials
    assert credentials is not None
    assert credentials.bearer is not None
    assert credentials.bearer.reveal() == CANARY.encode()


def test_a_file_may_be_anywhere(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY)
    (tmp_path / "etc").mkdir()
    assert read(tmp_path / "etc", file=str(tmp_path / "key")).reveal() == CANARY.encode()


def test_bytes_that_are_no_text_are_kept(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\x00\xfe")
    assert read(tmp_path, file="key").reveal() == b"\xff\x00\xfe"


def test_every_one_that_is_missing_is_said_with_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(WITH_BEARER.format("env: GATEWAY_TEST_NOT_SET") + MISSING_PROVIDER)
    assert [str(problem) for problem in caught.value.problems] == [
        "config.yaml:3:19: upstreams.a.credentials.bearer: "
        "environment variable GATEWAY_TEST_NOT_SET is not set",
        "config.yaml:7:5: auth.p.secret: cannot read none: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "either `env` or `file`"),
        ({"env": "A", "file": "b"}, "either `env` or `file`"),
        ({"env": "GATEWAY_TEST_NOT_SET"}, "GATEWAY_TEST_NOT_SET is not set"),
        ({"env": "GATEWAY_TEST_EMPTY"}, "GATEWAY_TEST_EMPTY is not set"),
        ({"env": ""}, "at least 1 character"),
        ({"file": "folder"}, "cannot read folder: Is a directory"),
        ({"file": "empty/key", "generate": True}, "cannot read empty/key: "),
        ({"file": "none"}, "cannot read none: No such file"),
        ({"file": "empty"}, "empty is empty"),
        ({"env": "A", "generate": True}, "`generate` needs `file`"),
        ({"value": CANARY}, "Extra inputs"),
    ],
)
def test_one_that_cannot_be_had_says_why(
    tmp_path: Path, fields: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TEST_EMPTY", "")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
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
        load_text(WITH_BEARER.format("env: GATEWAY_TEST_SECRET"))
    assert "holds characters a header cannot" in str(caught.value)
    assert CANARY not in str(caught.value)


def test_one_written_into_the_file_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(WITH_BEARER.format("env: A").replace("{env: A}", CANARY))
    assert "upstreams.a.credentials.bearer: has to be a secret" in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_whole_configuration_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TEST_SECRET", CANARY)
    config = load_text(WITH_BEARER.format("env: GATEWAY_TEST_SECRET"))
    shown = [repr(config), str(config), config.model_dump_json(), repr(config.model_dump())]
    assert all("***" in text for text in shown)
    assert CANARY not in "".join(shown)


def test_a_key_that_is_too_short_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").write_text("s3cr3t-but-short")
    monkeypatch.setenv("GATEWAY_TEST_SECRET", CANARY)
    with pytest.raises(ConfigError) as caught:
        load_text(WITH_BEARER.format("env: GATEWAY_TEST_SECRET") + MISSING_PROVIDER, base=tmp_path)
    assert "auth.p.secret: is shorter than 32 bytes" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_checks_read_no_secret_that_has_not_been_read() -> None:
    # Commands read a secret when they use it. A check that reveals one would need them all.
    folder = Path(__file__).parents[2] / "gateway/config"
    checks = {file.name: file.read_text() for file in folder.glob("check*.py")}
    assert len(checks) > 5
    assert [name for name, text in checks.items() if "reveal(" in text] == []
