"""`gateway routes`: the table of routes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import NOWHERE, call
from tests.support.gateway import config_text, simple_config
from tests.support.tokens import Auth


def test_routes_prints_the_table_most_specific_first(
    capsys: pytest.CaptureFixture[str], file: Path, auth: Auth
) -> None:
    config = simple_config(NOWHERE)
    config["auth"] = auth
    config["routes"].append(
        {"name": "exact", "path": "/v1/chat", "methods": ["POST"], "auth": ["corp"]}
        | {"upstream": "main"}
    )
    file.write_text(config_text(config, {}))
    said = call(capsys, "routes", "--config", str(file))
    lines = said.out.splitlines()
    assert " ".join(lines[0].split()) == "ROUTE PATH METHODS HOSTS AUTH LIMITS DIALECT TO"
    assert " ".join(lines[1].split()) == "exact /v1/chat POST any corp none openai main"
    assert " ".join(lines[2].split()) == "main /v1/* any any anonymous none openai main"


def test_routes_can_be_read_by_programs(
    capsys: pytest.CaptureFixture[str], file: Path, auth: Auth
) -> None:
    config = simple_config(NOWHERE, methods=["POST", "GET"], hosts=["b.test", "a.test"])
    config["auth"] = auth
    config["limits"] = {"ip": {"key": "ip", "requests": "1/second"}}
    config["models"] = {"m": {"upstream": "main"}}
    config["routes"][0] |= {"limits": ["ip"], "models": ["m"], "auth": ["corp"]}
    file.write_text(config_text(config, {}))
    said = call(capsys, "routes", "--json", "--config", str(file))
    assert [json.loads(line) for line in said.out.splitlines()] == [
        {
            **{"route": "main", "path": "/v1/*", "methods": "GET,POST", "hosts": "a.test,b.test"},
            **{"auth": "corp", "limits": "ip", "dialect": "openai", "to": "m,main"},
        }
    ]
