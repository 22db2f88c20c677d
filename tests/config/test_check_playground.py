"""`server.playground`: a page that works, behind a password that cannot be guessed."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config import ConfigError, load_text
from tests.support.gateway import config_text, simple_config

LONG = "a-password-of-many-characters"


def problems(
    monkeypatch: pytest.MonkeyPatch, password: str = LONG, route: str = "main", **changes: Any
) -> list[str]:
    monkeypatch.setenv("PASSWORD", password)
    page = {"route": route, "password": {"env": "PASSWORD"}}
    options = {"models": ["m"], "upstream": None, "path": "/v1/", **changes}
    document = simple_config("http://127.0.0.1:9", server={"playground": page}, **options)
    document["models"] = {"m": {"upstream": next(iter(document["upstreams"]))}}
    try:
        load_text(config_text(document, {}))
    except ConfigError as exc:
        return [str(problem) for problem in exc.problems]
    return []


def test_a_route_with_models_takes_a_playground(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"password": "short"}, "server.playground.password: is shorter than 16 characters"),
        ({"route": "nobody"}, "server.playground.route: there is no route 'nobody'"),
        ({"path": "/v1/chat/completions"}, "server.playground.route: needs a route of OpenAI's"),
        ({"dialect": "anthropic"}, "server.playground.route: needs a route of OpenAI's API"),
        ({"path": "/playground/"}, "serves the same requests as route 'server.playground'"),
    ],
)
def test_what_keeps_it_from_working_is_told(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    assert any(said in problem for problem in problems(monkeypatch, **changes))
