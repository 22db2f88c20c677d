"""Checks and warnings about the access of operators."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from gateway.config import ConfigError, load_text
from gateway.config.advice import advise
from gateway.config.check_operators import is_loopback, is_public
from tests.support.gateway import config_text, simple_config

DIGEST = hashlib.sha256(b"canary7f3a").hexdigest()
SIGN_IN = {"issuer": "https://id.example.com", "client_id": "gw", "roles": {"admin": ["ops"]}}


def problems(**admin: Any) -> list[str]:
    """Return the problems of a section `admin`."""
    try:
        load_text(config_text(simple_config("http://127.0.0.1:1"), {"admin": admin}))
    except ConfigError as exc:
        return [str(problem) for problem in exc.problems]
    return []


def warnings(**admin: Any) -> list[str]:
    """Return the warnings about a section `admin`."""
    text = config_text(simple_config("http://127.0.0.1:1"), {"admin": admin})
    return [f"{'.'.join(map(str, path))}: {why}" for path, why, _ in advise(load_text(text))]


@pytest.mark.parametrize(
    ("admin", "words"),
    [
        ({"listen": "0.0.0.0:1"}, "lets everybody who reaches it operate the gateway"),
        ({"tokens": {"ci": {"sha256": "abc", "role": "viewer"}}}, "64 hexadecimal digits"),
        ({"tokens": {"ci": {"sha256": DIGEST, "role": "root"}}}, "viewer"),
        ({"tokens": {"admin": {"sha256": DIGEST, "role": "viewer"}}}, "name of admin.token"),
        (
            {"tokens": {n: {"sha256": DIGEST, "role": "viewer"} for n in ("a", "b")}},
            "admin.tokens.a",
        ),
        ({"public_url": "http://gw.example.com"}, "not https"),
        ({"sign_in": {**SIGN_IN, "issuer": "http://id.example.com"}}, "not an https URL"),
        ({"sign_in": {**SIGN_IN, "roles": {}}}, "gives nobody a role"),
        ({"sign_in": {**SIGN_IN, "roles": {"admin": [""]}}}, "empty name"),
        ({"sign_in": {**SIGN_IN, "idle": "2h", "session": "1h"}}, "longer than"),
        ({"sign_in": {**SIGN_IN, "ca": "/nowhere.pem"}}, "cannot be used"),
    ],
)
def test_unsafe_settings_are_problems(admin: dict[str, Any], words: str) -> None:
    assert any(words in one for one in problems(**{"listen": "127.0.0.1:0", **admin}))


def test_tokens_or_a_sign_in_allow_an_address_that_others_reach() -> None:
    tokens = {"ci": {"sha256": [DIGEST], "role": "viewer"}}
    assert problems(listen="0.0.0.0:9090", tokens=tokens) == []
    assert problems(listen="0.0.0.0:9090", sign_in=SIGN_IN) == []


def test_credentials_that_can_be_read_on_the_way_are_warned_of() -> None:
    token = {"ci": {"sha256": DIGEST, "role": "viewer"}}
    https = "https://gw.example.com"
    assert any("without TLS" in one for one in warnings(listen="8.8.8.8:9090", tokens=token))
    assert any("without TLS" in one for one in warnings(listen="0.0.0.0:9090", sign_in=SIGN_IN))
    found = warnings(listen="0.0.0.0:9090", sign_in=SIGN_IN)
    assert any("works on localhost only" in one for one in found)
    quiet = [
        warnings(listen="8.8.8.8:9090", tokens=token, public_url=https),
        warnings(listen="0.0.0.0:9090", sign_in=SIGN_IN, public_url=[https]),
        warnings(listen="127.0.0.1:9090", sign_in=SIGN_IN),
        warnings(listen="10.0.0.5:9090", tokens=token),
    ]
    assert not any("admin." in one for found in quiet for one in found)


def test_loopback_addresses_are_known() -> None:
    mapped = "[::ffff:7f00:1]:1"
    loopback = ("127.0.0.1:1", "[::1]:1", "localhost:1", "127.8.8.8:1", mapped)
    assert all(is_loopback(one) for one in loopback)
    assert not any(is_loopback(one) for one in ("0.0.0.0:1", "[::]:1", ":1", "gw.example.com:1"))


def test_public_addresses_are_known() -> None:
    assert all(is_public(one) for one in ("8.8.8.8:1", "[2600::1]:1", "[::ffff:808:808]:1"))
    private = ("10.0.0.5:1", "[fd00::1]:1", "[::ffff:a00:5]:1", "0.0.0.0:1", "localhost:1")
    assert not any(is_public(one) for one in private)
