"""Each command reads only the secrets that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import NOWHERE, Said, call
from tests.support.gateway import config_text, simple_config

MISSING = "GATEWAY_TEST_MISSING"


@pytest.fixture
def secretive(file: Path) -> Path:
    """A file that names secrets of many kinds, none of which is here."""
    missing = {"env": MISSING}
    auth: dict[str, Any] = {
        "keys": {"type": "api_key", "file": str(file.with_name("keys.yaml"))},
        "corp": {
            **{"type": "jwt", "issuer": "https://corp", "audience": "gateway"},
            **{"algorithm": "HS256", "secret": missing},
        },
        "other": {
            **{"type": "jwt", "issuer": "https://other", "audience": "gateway"},
            **{"algorithm": "RS256", "public_key": {"file": "missing.pem"}},
        },
    }
    document = simple_config(
        NOWHERE, auth=["keys"], upstream={"credentials": {"bearer": {"file": "missing.key"}}}
    )
    document["admin"] = {"listen": "127.0.0.1:9090", "token": {"env": f"{MISSING}_2"}}
    document["alerts"] = {"ops": {"url": {"command": ["false"]}}}
    file.write_text(config_text(document, {"auth": auth}))
    return file


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "create", "--owner", "ann", "--config"),
        ("keys", "list", "--config"),
        ("routes",),
        ("check", "--offline"),
        ("schema", None),
        ("errors", None),
    ],
    ids=lambda words: words[0],
)
def test_commands_that_use_no_secret_need_none(
    capsys: pytest.CaptureFixture[str], secretive: Path, words: tuple[str | None, ...]
) -> None:
    given = [word for word in words if word is not None]
    said = call(capsys, *given, *(() if None in words else (str(secretive),)))
    assert (said.code, said.err) == (0, "")
    assert said.out


@pytest.mark.parametrize(
    ("words", "where", "why"),
    [
        (("token",), "auth.corp.secret", f"environment variable {MISSING} is not set"),
        (("reload", "--config"), "admin.token", f"environment variable {MISSING}_2 is not set"),
        (("alerts", "test", "--config"), "alerts.ops.url", "false ended with status 1"),
    ],
    ids=["token", "reload", "alerts"],
)
def test_a_command_names_the_secret_that_it_lacks(
    capsys: pytest.CaptureFixture[str],
    secretive: Path,
    words: tuple[str, ...],
    where: str,
    why: str,
) -> None:
    said = call(capsys, *words, str(secretive))
    assert said.code == 1
    [line] = said.err.splitlines()
    assert line.startswith(f"{secretive}:")
    assert line.endswith(f": {where}: {why}")


def test_check_lists_all_missing_secrets_and_all_other_problems(
    capsys: pytest.CaptureFixture[str], secretive: Path
) -> None:
    document = yaml.safe_load(secretive.read_text())
    document["routes"][0]["upstream"] = "nowhere"
    secretive.write_text(yaml.safe_dump(document))
    said = call(capsys, "check", str(secretive))
    assert said.code == 1
    assert said.err.count(MISSING) == 2
    for part in ("missing.pem", "missing.key", "false ended with status 1", "'nowhere'"):
        assert part in said.err
    assert len(said.err.splitlines()) == len(set(said.err.splitlines()))


def test_check_without_secrets_says_that_it_read_none(
    capsys: pytest.CaptureFixture[str], secretive: Path
) -> None:
    said = call(capsys, "check", "--offline", str(secretive))
    assert said == Said(0, f"{secretive}: ok; secrets were not read\n", "")


def test_a_store_with_a_secret_url_is_not_opened_to_list_routes(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    document = {**simple_config(NOWHERE), "store": {"url": {"env": MISSING}}}
    file.write_text(config_text(document, {}))
    assert call(capsys, "routes", str(file)).code == 0
    assert call(capsys, "check", "--offline", str(file)).code == 0
    assert call(capsys, "check", str(file)).code == 1
