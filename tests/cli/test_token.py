"""`gateway token`: tokens for trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.support.commands import NOWHERE, Said, call
from tests.support.gateway import StartGateway, config_text, simple_config
from tests.support.tokens import SECRET, SECRET_VARIABLE, Auth
from tests.support.upstream import ScriptedUpstream, json_reply


async def test_a_token_opens_the_gateway_it_was_made_for(
    capsys: pytest.CaptureFixture[str], start_gateway: StartGateway, file: Path, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({"ok": True})) as upstream:
        running = await start_gateway(simple_config(upstream.url, auth=["corp"]) | {"auth": auth})
        said = call(capsys, "token", "--config", str(file))
        assert (said.code, said.err) == (0, "")
        headers = {"authorization": f"Bearer {said.out.strip()}"}
        async with httpx.AsyncClient(trust_env=False, base_url=running.url) as client:
            assert (await client.get("/v1/x")).status_code == 401
            assert (await client.get("/v1/x", headers=headers)).json() == {"ok": True}
    (refused, served) = running.log.requests
    assert (refused["status"], served["status"]) == (401, 200)


def test_a_token_says_what_it_was_told_to(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    who = ["--subject", "ann", "--tenant", "acme", "--scopes", "chat embed", "--ttl", "90s"]
    claims = decoded(call(capsys, "token", "--config", str(file), *who))
    assert (claims["sub"], claims["org"], claims["scope"]) == ("ann", "acme", "chat embed")
    assert claims["exp"] - claims["iat"] == 90


def test_a_token_is_a_developers_for_an_hour(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    claims = decoded(call(capsys, "token", "--config", str(file)))
    assert claims["sub"] == "developer"
    assert claims["exp"] - claims["iat"] == 3600
    assert not {"org", "scope"} & set(claims)


def decoded(said: Said) -> dict[str, Any]:
    """The claims of a token that `corp` accepts."""
    assert (said.code, said.err) == (0, "")
    claims: dict[str, Any] = jwt.decode(
        said.out.strip(), SECRET, ["HS256"], audience="llm", issuer="https://sso.test"
    )
    return claims


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--provider", "none"], "--provider: there is no 'none' in `auth`: "),
        (["--provider", "keys"], "'keys' has no `secret` to sign a token with"),
        (["--provider", "partners"], "'partners' has no `secret` to sign a token with"),
        (["--ttl", "soon"], "--ttl: not a duration"),
        (["--ttl", "3600"], "--ttl: not a duration"),
        (["--ttl", ""], "--ttl: not a duration"),
    ],
)
def test_a_token_that_cannot_be_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], file: Path, auth: Auth, arguments: list[str], reason: str
) -> None:
    others = {
        "keys": {"type": "api_key", "file": "keys.yaml"},
        "partners": {"type": "jwt", "issuer": "https://i.test", "audience": "a", "jwks": "auto"},
    }
    file.write_text(config_text(simple_config(NOWHERE), {"auth": auth | others}))
    said = call(capsys, "token", "--config", str(file), *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"gateway: {reason}")


def test_a_file_with_api_keys_alone_points_to_the_command_that_makes_them(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    keys = {"keys": {"type": "api_key", "file": "keys.yaml"}}
    file.write_text(config_text(simple_config(NOWHERE), {"auth": keys}))
    said = call(capsys, "token", "--config", str(file))
    assert (said.code, said.out) == (2, "")
    assert "no provider in `auth` has a `secret`" in said.err
    assert "`gateway keys create`" in said.err


def test_a_token_without_its_secret_says_which_is_missing(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET_VARIABLE)
    said = call(capsys, "token", "--config", str(file))
    assert (said.code, said.out) == (1, "")
    assert f"environment variable {SECRET_VARIABLE} is not set" in said.err
