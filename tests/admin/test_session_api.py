"""Sessions over processes: outages, restarts, replicas, and changes of the configuration."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.admin import admin
from tests.support.gateway import StartGatewayProcess, config_text, simple_config
from tests.support.redis import StartRedis
from tests.support.sign_in_browser import (
    BEARER,
    TOKEN,
    Browser,
    audit,
    sign_in_config,
    sign_in_options,
)
from tests.support.sign_in_issuer import CLIENT_ID, CLIENT_SECRET, SignInIssuer
from tests.support.waiting import asked_until


@pytest.fixture
async def issuer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SignInIssuer]:
    monkeypatch.setenv("ADMIN_TOKEN", TOKEN)
    monkeypatch.setenv("OIDC_SECRET", CLIENT_SECRET)
    async with SignInIssuer() as one:
        yield one


async def test_many_sign_ins_in_a_short_time_are_refused(
    start_gateway_process: StartGatewayProcess, issuer: SignInIssuer, tmp_path: Path
) -> None:
    gateway = await start_gateway_process(sign_in_config(tmp_path), admin=sign_in_options(issuer))
    async with Browser(gateway) as browser:
        found = [await browser.get("/sign-in") for _ in range(60)]
    assert {status for status, _, _ in found} == {303, 429}
    assert all("Retry-After" in one.headers for status, _, one in found if status == 429)


async def test_while_the_issuer_is_away_sessions_go_on_and_a_page_says_what_to_do(
    start_gateway_process: StartGatewayProcess, issuer: SignInIssuer, tmp_path: Path
) -> None:
    config, options = sign_in_config(tmp_path), sign_in_options(issuer)
    one = await start_gateway_process(config, admin=options)
    async with Browser(one) as browser:
        assert (await browser.sign_in())[0] == 303
        issuer.token_status = 500
        status, body, _ = await browser.sign_in()
        assert status == 502
        assert "does not answer as it should" in body
        assert (await browser.get("/api/upstreams"))[0] == 200
    issuer.public = {"issuer": "https://evil.example"}
    another = await start_gateway_process(config, admin=options)
    async with Browser(another) as browser:
        assert (await browser.get("/sign-in"))[0] == 502
    assert (await admin(another, "GET", "/api/now", None, BEARER)).status == 200
    reasons = [one["reason"] for one in await audit(another, action="sign_in_refused")]
    assert any("another issuer's" in reason for reason in reasons)


async def test_a_client_secret_is_sent_as_the_issuer_wants_it(
    start_gateway_process: StartGatewayProcess, issuer: SignInIssuer, tmp_path: Path
) -> None:
    options = sign_in_options(issuer, client_secret={"env": "OIDC_SECRET"})
    for methods in (["client_secret_post"], ["client_secret_basic", "client_secret_post"]):
        issuer.public = {"token_endpoint_auth_methods_supported": methods}
        gateway = await start_gateway_process(sign_in_config(tmp_path), admin=options)
        async with Browser(gateway) as browser:
            assert (await browser.sign_in())[0] == 303
    posted, basic = issuer.exchanged
    assert (posted["client_id"], posted["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
    assert "client_secret" not in basic
    shown = base64.b64decode(basic["authorization"].removeprefix("Basic ")).decode()
    assert shown == "gateway:secret-of-gateway%3A+7f3a%25"


async def test_replicas_share_sessions_and_an_admin_ends_them(
    start_gateway_process: StartGatewayProcess, start_redis: StartRedis, issuer: SignInIssuer
) -> None:
    redis = await start_redis()
    document = {**simple_config("http://127.0.0.1:1"), "store": {"url": redis.url}}
    options = sign_in_options(issuer)
    one, two = [await start_gateway_process(document, admin=options) for _ in range(2)]
    async with Browser(one) as browser:
        assert (await browser.sign_in())[0] == 303
        sessions = (await admin(two, "GET", "/api/sessions", None, BEARER)).json()["sessions"]
        [session] = sessions
        assert (session["name"], session["role"]) == ("ann@example.com", "operator")
        assert not session["is_own"]
        cookie = f"Cookie: gateway_session_{two.admin_port}={browser.session_cookie}"
        host = f"Host: localhost:{two.admin_port}"
        assert (await admin(two, "GET", "/api/now", None, cookie, host)).status == 200
        path = f"/api/sessions/{session['id']}"
        assert (await admin(two, "DELETE", path, None, BEARER)).status == 200

        async def status() -> int:
            return (await browser.get("/api/upstreams"))[0]

        await asked_until(status, lambda found: found == 401)
    [entry] = await audit(one, action="session_ended")
    assert (entry["object"], entry["who"]) == ("session ann@example.com", "admin")


async def test_another_configuration_changes_the_role_of_a_session_at_once(
    start_gateway_process: StartGatewayProcess, issuer: SignInIssuer, tmp_path: Path
) -> None:
    config = sign_in_config(tmp_path)
    gateway = await start_gateway_process(config, admin=sign_in_options(issuer))
    async with Browser(gateway) as browser:
        assert (await browser.sign_in())[0] == 303
        for changed, role in (
            ({"roles": {"viewer": ["ops"]}}, "viewer"),
            ({"roles": {"admin": ["owners"]}}, None),
            ({}, "operator"),
            ({"client_id": "another"}, None),
        ):
            admin_section = sign_in_options(issuer, **changed)
            gateway.file.write_text(config_text(config, {"admin": admin_section}))
            assert (await admin(gateway, "POST", "/api/reload", None, BEARER)).status == 200
            assert (await browser.session())["role" if role else "admitted"] == (role or False)


async def test_a_session_survives_a_restart_with_a_store_that_does(
    start_gateway_process: StartGatewayProcess, issuer: SignInIssuer, tmp_path: Path
) -> None:
    config, options = sign_in_config(tmp_path), sign_in_options(issuer)
    gateway = await start_gateway_process(config, admin=options)
    async with Browser(gateway) as browser:
        assert (await browser.sign_in())[0] == 303
        cookie = browser.session_cookie
    await gateway.stop()
    again = await start_gateway_process(config, admin=options)
    line = f"Cookie: gateway_session_{again.admin_port}={cookie}"
    host = f"Host: localhost:{again.admin_port}"
    assert (await admin(again, "GET", "/api/now", None, line, host)).status == 200
    forged = f"Cookie: gateway_session_{again.admin_port}={'A' * 43}"
    assert (await admin(again, "GET", "/api/now", None, forged, host)).status == 401
