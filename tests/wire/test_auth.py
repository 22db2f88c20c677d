"""Who may enter: JWTs of a real issuer, API keys, scopes, revocation."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import RawClient, ask
from tests.support.commands import called
from tests.support.door import get, guarded, with_token
from tests.support.gateway import StartGateway, simple_config
from tests.support.issuer import Issuer
from tests.support.redis import StartRedis
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import PATIENCE_S, SLACK_S

# -- an issuer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_a_token_of_a_discovered_issuer_is_accepted(
    start_gateway: StartGateway, algorithm: str
) -> None:
    async with Issuer() as issuer, ScriptedUpstream(json_reply({})) as upstream:
        issuer.add_key("a", algorithm)
        gateway = await start_gateway(guarded(upstream, issuer.provider()))
        response = await with_token(gateway, issuer.token("a"))
    assert response.status == 200
    assert upstream.requests[0].value("authorization") is None


async def test_another_scheme_than_bearer_is_named_in_the_log(start_gateway: StartGateway) -> None:
    async with Issuer() as issuer, ScriptedUpstream(json_reply({})) as upstream:
        issuer.add_key("a")
        gateway = await start_gateway(guarded(upstream, issuer.provider()))
        refused = await ask(gateway.port, get("/v1/x", "Authorization: Basic YTpi"))
        logged = await gateway.wait_for_log(lambda line: line.get("status") == 401)
    assert refused.status == 401
    assert logged["reason"] == "Authorization holds no token of the scheme Bearer"


# -- what a caller may -------------------------------------------------------------------------


async def test_a_route_asks_for_scopes(start_gateway: StartGateway) -> None:
    async with Issuer() as issuer, ScriptedUpstream(json_reply({})) as upstream:
        issuer.add_key("a")
        gateway = await start_gateway(
            guarded(upstream, issuer.provider(), scopes=["llm.chat", "llm.fast"])
        )
        allowed = await with_token(gateway, issuer.token("a", scope="llm.fast llm.chat other"))
        refused = await with_token(gateway, issuer.token("a", scope="llm.chat"))
        logged = await gateway.wait_for_log(lambda line: line.get("status") == 403)
    assert allowed.status == 200
    assert refused.status == 403
    assert refused.json()["error"]["code"] == "insufficient_scope"
    assert refused.value("www-authenticate") == b'Bearer error="insufficient_scope"'
    assert logged["reason"] == "needs llm.fast"
    assert logged["subject"] == "ann"


async def test_a_model_one_may_not_use_is_as_one_that_is_not_there(
    start_gateway: StartGateway,
) -> None:
    async with Issuer() as issuer, ScriptedUpstream(json_reply({})) as upstream:
        issuer.add_key("a")
        gateway = await start_gateway(
            {
                "auth": issuer.provider(),
                "upstreams": {"main": {"endpoints": [{"url": upstream.url}]}},
                "models": {
                    "open": {"upstream": "main"},
                    "closed": {"upstream": "main", "scopes": ["vip"]},
                },
                "routes": [
                    {"name": "r", "path": "/v1/", "auth": ["corp"], "models": ["open", "closed"]}
                ],
            }
        )
        answers = {}
        for scope in ("", "vip"):
            token = issuer.token("a", scope=scope)
            listed = await with_token(gateway, token, "/v1/models")
            names = [model["id"] for model in listed.json()["data"]]
            one = await with_token(gateway, token, "/v1/models/closed")
            body = json.dumps({"model": "closed"}).encode()
            head = get("/v1/chat", f"Authorization: Bearer {token}")[:-2].replace(b"GET", b"POST")
            asked = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
            chat = await ask(gateway.port, asked, "POST")
            answers[scope] = (names, one.status, chat.status)
    assert answers[""] == (["open"], 404, 404)
    assert answers["vip"] == (["open", "closed"], 200, 200)


async def test_claims_go_to_the_upstream_and_a_clients_own_do_not(
    start_gateway: StartGateway,
) -> None:
    async with Issuer() as issuer, ScriptedUpstream(json_reply({})) as upstream:
        issuer.add_key("a")
        provider = issuer.provider(headers={"X-User-Email": "email", "X-Team": "team"})
        gateway = await start_gateway(guarded(upstream, provider))
        token = issuer.token("a", email="ann@test")
        await ask(
            gateway.port,
            get("/v1/x", f"Authorization: Bearer {token}", "X-User-Email: evil", "X-Team: root"),
        )
    assert upstream.requests[0].values("x-user-email") == [b"ann@test"]
    assert upstream.requests[0].values("x-team") == []


async def test_the_first_provider_that_accepts_wins_and_the_log_says_why_others_did_not(
    start_gateway: StartGateway,
) -> None:
    async with (
        Issuer() as one,
        Issuer() as two,
        ScriptedUpstream(json_reply({})) as upstream,
    ):
        one.add_key("a")
        two.add_key("b")
        auth = {"one": one.provider()["corp"], "two": two.provider()["corp"]}
        gateway = await start_gateway(guarded(upstream, auth))
        assert (await with_token(gateway, two.token("b"))).status == 200
        token = two.token("b", aud="other")
        assert (await with_token(gateway, token)).status == 401
        logged = await gateway.wait_for_log(lambda line: line.get("status") == 401)
    assert logged["reason"] == (
        f"one: not of this issuer: iss is '{two.url}', expected '{one.url}'; "
        "two: InvalidAudienceError: aud is 'other', expected one of ['llm']"
    )
    assert token.encode() not in gateway.log.raw


# -- why a credential is refused ---------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "ollama"])
async def test_a_401_says_why_in_the_dialect_of_the_route(
    start_gateway: StartGateway, auth: Auth, dialect: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = simple_config(upstream.url, auth=["corp"], dialect=dialect)
        gateway = await start_gateway({**config, "auth": auth})
        expired = await ask(gateway.port, get("/v1/x", bearer(exp=1)))
        nothing = await ask(gateway.port, get("/v1/x"))
    assert (expired.status, nothing.status) == (401, 401)
    assert expired.value("www-authenticate") == (
        b'Bearer error="invalid_token", error_description="The token expired"'
    )
    assert nothing.value("www-authenticate") == b"Bearer"
    error = expired.json()["error"]
    assert (error if dialect == "ollama" else error["message"]) == "The token expired."
    assert b"sso.test" not in expired.body


async def test_the_caller_is_told_by_the_provider_its_credential_was_meant_for(
    start_gateway: StartGateway, auth: Auth, tmp_path: Path
) -> None:
    keys_file = {"type": "api_key", "file": str(tmp_path / "keys.yaml")}
    both = {"other": {**auth["corp"], "issuer": "https://other.test"}, **auth, "keys": keys_file}
    cases = {
        bearer(aud="x"): "The token is for another audience.",
        bearer(iss="https://third.test"): "The token is of another issuer.",
        f"X-Api-Key: sk-gw-{'a' * 12}-{'b' * 43}": "The API key is not known here.",
        "X-Api-Key: sk-ant-123": "The credential is not of a kind that is accepted here.",
    }
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(guarded(upstream, both))
        for line, message in cases.items():
            answer = await ask(gateway.port, get("/v1/x", line))
            assert (answer.status, answer.json()["error"]["message"]) == (401, message)


async def test_one_credential_in_two_headers_is_one(
    start_gateway: StartGateway, auth: Auth
) -> None:
    line = bearer()
    token = line.rpartition(" ")[2]
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(guarded(upstream, auth))
        answer = await ask(gateway.port, get("/v1/x", line, f"x-api-key: {token}"))
        spaced = await ask(
            gateway.port, get("/v1/x", line, f"Api-Key:  {token} ", f"X-Api-Key: {token}")
        )
    assert (answer.status, spaced.status) == (200, 200)
    assert token.encode() not in b"".join(request.raw for request in upstream.requests)


async def test_of_two_credentials_it_is_said_which_is_refused(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(guarded(upstream, auth))
        answer = await ask(gateway.port, get("/v1/x", bearer(), "X-Api-Key: sk-ant-canary7f3a"))
        logged = await gateway.wait_for_log(lambda line: line.get("status") == 401)
    assert answer.status == 401
    assert answer.json()["error"]["message"] == (
        "There are several credentials: send one of Authorization, X-Api-Key. "
        "X-Api-Key is refused: The credential is not of a kind that is accepted here."
    )
    assert logged["reason"] == "more than one credential; X-Api-Key refused by corp: not a JWT"
    assert b"canary7f3a" not in answer.body + gateway.log.raw
    assert not upstream.requests


# -- API keys ----------------------------------------------------------------------------------


async def keys(folder: Path, *arguments: str) -> str:
    """What `gateway keys` prints."""
    said = await called("keys", *arguments, "--config", str(folder / "config.yaml"))
    assert said.code == 0, said.err
    return said.out.strip()


@pytest.fixture
def key_config(tmp_path: Path) -> dict[str, Any]:
    """A route for API keys; the file of the configuration is there for the command."""
    document = {
        "auth": {"keys": {"type": "api_key", "file": str(tmp_path / "keys.yaml")}},
        "upstreams": {"main": {"endpoints": [{"url": "http://127.0.0.1:1"}]}},
        "models": {"a": {"upstream": "main"}, "b": {"upstream": "main"}},
        "routes": [{"name": "r", "path": "/v1/", "auth": ["keys"], "models": ["a", "b"]}],
    }
    (tmp_path / "config.yaml").write_text(json.dumps(document))
    return document


async def test_a_key_enters_until_it_is_revoked(
    start_gateway: StartGateway, key_config: dict[str, Any], tmp_path: Path, report: Any
) -> None:
    key = await keys(tmp_path, "create", "--owner", "ann", "--tenant", "acme", "--models", "a")
    gateway = await start_gateway(key_config)
    for line in (f"Authorization: Bearer {key}", f"x-api-key: {key}", f"api-key: {key}"):
        response = await ask(gateway.port, get("/v1/models", line))
        assert [model["id"] for model in response.json()["data"]] == ["a"]
    logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (logged["subject"], logged["tenant"]) == ("ann", "acme")
    listed = await keys(tmp_path, "list")
    assert "usable" in listed
    assert key not in listed
    assert await keys(tmp_path, "revoke", key) == f"{key.split('-')[2]}: revoked"
    loop = asyncio.get_running_loop()
    revoked_at = loop.time()
    async with asyncio.timeout(PATIENCE_S):
        while (await with_token(gateway, key, "/v1/models")).status != 401:
            pass
    report("auth", "API key revoked to refused, s", loop.time() - revoked_at)
    assert loop.time() - revoked_at < 1.0 + SLACK_S
    secret = key.split("-", 3)[3]
    assert secret.encode() not in gateway.log.raw


async def test_a_key_of_a_header_of_its_own_never_reaches_the_upstream(
    start_gateway: StartGateway, key_config: dict[str, Any], tmp_path: Path
) -> None:
    key = await keys(tmp_path, "create", "--owner", "ann")
    async with ScriptedUpstream(json_reply({})) as upstream:
        key_config["auth"]["keys"]["header"] = "X-Acme-Key"
        key_config["upstreams"]["main"]["endpoints"] = [{"url": upstream.url}]
        key_config["routes"][0] |= {"upstream": "main"}
        gateway = await start_gateway(key_config)
        async with RawClient(gateway.port) as client:
            await client.send(get("/v1/x", f"X-Acme-Key: {key}"))
            assert (await client.read_response()).status == 200
    assert b"acme-key" not in upstream.requests[0].raw.lower()
    assert key.encode() not in upstream.requests[0].raw


# -- revocation --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_a_revoked_token_is_refused_within_a_second_on_every_gateway(
    start_gateway: StartGateway, start_redis: StartRedis, tmp_path: Path, kind: str, report: Any
) -> None:
    url = (await start_redis()).url if kind == "redis" else f"sqlite://{tmp_path}/store.db"
    async with Issuer() as issuer, ScriptedUpstream(json_reply({})) as upstream:
        issuer.add_key("a")
        document = {**guarded(upstream, issuer.provider()), "store": {"url": url}}
        (tmp_path / "config.yaml").write_text(json.dumps(document))
        gateways = [await start_gateway(document) for _ in range(2)]
        token, other = issuer.token("a", jti="one"), issuer.token("a", jti="other")
        for gateway in gateways:
            assert (await with_token(gateway, token)).status == 200
        said = await called("revoke", token, "--config", str(tmp_path / "config.yaml"))
        loop = asyncio.get_running_loop()
        revoked_at = loop.time()
        assert said.out == "one: revoked\n"
        async with asyncio.timeout(PATIENCE_S):
            for gateway in gateways:
                while (await with_token(gateway, token)).status != 401:
                    pass
        report("auth", f"token revoked to refused everywhere, {kind}, s", loop.time() - revoked_at)
        assert loop.time() - revoked_at < 1.0 + SLACK_S
        assert (await with_token(gateways[0], other)).status == 200


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_keys_in_the_store_enter_every_gateway_until_they_are_revoked(
    start_gateway: StartGateway,
    start_redis: StartRedis,
    key_config: dict[str, Any],
    tmp_path: Path,
    kind: str,
    report: Any,
) -> None:
    url = (await start_redis()).url if kind == "redis" else f"sqlite://{tmp_path}/store.db"
    key_config |= {"auth": {"keys": {"type": "api_key"}}, "store": {"url": url}}
    (tmp_path / "config.yaml").write_text(json.dumps(key_config))
    gateways = [await start_gateway(key_config) for _ in range(2)]

    async def settled(status: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            for gateway in gateways:
                while (await with_token(gateway, key, "/v1/models")).status != status:
                    pass

    key = await keys(tmp_path, "create", "--owner", "ann", "--tenant", "acme")
    await settled(200)
    assert "usable" in await keys(tmp_path, "list")
    await keys(tmp_path, "revoke", key)
    loop = asyncio.get_running_loop()
    revoked_at = loop.time()
    await settled(401)
    report("auth", f"stored key revoked to refused, {kind}, s", loop.time() - revoked_at)
    assert loop.time() - revoked_at < 1.0 + SLACK_S
    assert "revoked" in await keys(tmp_path, "list")
