"""Positions of secrets in the configuration."""

from __future__ import annotations

from gateway.config.problems import ConfigSource
from gateway.config.secret_position import SecretPositions

DOCUMENT = {
    "auth": {"corp": {"secret": {"env": "A"}}},
    "upstreams": [{"key": {"command": ["pass", "b"], "timeout": "5s"}}],
    "admin": {"token": {"provider": "vault", "name": "c"}},
}
SOURCE = ConfigSource("config.yaml", {("auth", "corp", "secret"): (3, 5)})


def test_a_secret_is_found_by_its_source() -> None:
    positions = SecretPositions(DOCUMENT, SOURCE)
    assert str(positions.problem({"env": "A"}, "is not set")) == (
        "config.yaml:3:5: auth.corp.secret: is not set"
    )
    command = positions.problem({"command": ("pass", "b"), "timeout": 5.0}, "failed")
    assert command.path == ("upstreams", 0, "key")
    assert positions.problem({"provider": "vault", "name": "c"}, "").path == ("admin", "token")
    assert positions.problem({"provider": "vault", "name": "d"}, "").path == ()
