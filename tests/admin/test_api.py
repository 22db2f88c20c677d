"""The admin API: who may ask, what is told, what can be done."""

from __future__ import annotations

import asyncio

import pytest

from gateway.admin.masked_config import masked
from gateway.config import load_text
from tests.support.admin import admin, told
from tests.support.client import RawClient, ask
from tests.support.gateway import (
    GatewayProcess,
    StartGatewayProcess,
    config_text,
    simple_config,
)
from tests.support.tokens import SECRET_VARIABLE, Auth, bearer
from tests.support.upstream import ScriptedUpstream, hang, json_reply, stepped_stream

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PATHS = (
    "/api/workers",
    "/api/upstreams",
    "/api/routes",
    "/api/config",
    "/api/requests",
)


async def test_with_a_token_everything_but_health_asks_for_it(
    start_gateway_process: StartGatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "canary7f3a")
    gateway = await start_gateway_process(
        simple_config("http://127.0.0.1:1"),
        admin={"listen": "127.0.0.1:0", "token": {"env": "ADMIN_TOKEN"}},
    )
    for path in PATHS:
        for lines in ((), ("Authorization: Bearer wrong",), ("Authorization: canary7f3a",)):
            refused = await admin(gateway, "GET", path, None, *lines)
            assert refused.status == 401
            assert refused.value("www-authenticate") == b"Bearer"
        good = await admin(gateway, "GET", path, None, "Authorization: Bearer canary7f3a")
        assert good.status == 200
        assert b"canary7f3a" not in good.body
    assert (await admin(gateway, "POST", "/api/reload")).status == 401
    for path in ("/livez", "/readyz"):
        assert (await admin(gateway, "GET", path)).status == 200


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("host", ["evil.test", "evil.test:9090", "127.0.0.1.evil.test", "[::2]"])
async def test_without_a_token_only_this_machine_is_answered(
    idle: GatewayProcess, host: str
) -> None:
    """A web page could have its own name point at this address (DNS rebinding)."""
    assert (await admin(idle, "GET", "/api/config", None, f"Host: {host}")).status == 403
    for name in ("localhost", "127.0.0.1:9090", "[::1]"):
        assert (await admin(idle, "GET", "/api/config", None, f"Host: {name}")).status == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_of_another_origin_can_do_nothing(idle: GatewayProcess) -> None:
    refused = await admin(idle, "POST", "/api/reload", None, "Origin: https://evil.test")
    assert refused.status == 403
    allowed = await admin(idle, "POST", "/api/reload", None, "Origin: http://localhost")
    assert allowed.status == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_reads_are_for_pages_of_the_same_origin_and_for_programs(
    idle: GatewayProcess,
) -> None:
    for path in (*PATHS, "/metrics", "/api/session", "/api/events?topics=now"):
        for site in ("cross-site", "same-site"):  # another port of this host is the same site
            refused = await admin(idle, "GET", path, None, f"Sec-Fetch-Site: {site}")
            assert refused.status == 403, path
    for lines in ((), ("Sec-Fetch-Site: same-origin",), ("Sec-Fetch-Site: none",)):
        assert (await admin(idle, "GET", "/api/config", None, *lines)).status == 200
    # Other sites may link to a page, which tells nothing until it asks.
    linked = await admin(idle, "GET", "/requests/abc", None, "Sec-Fetch-Site: cross-site")
    assert linked.status == 200
    assert (await admin(idle, "GET", "/livez", None, "Sec-Fetch-Site: cross-site")).status == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_no_answer_of_the_api_runs_or_is_embedded(idle: GatewayProcess) -> None:
    for path in ("/api/config", "/livez", "/metrics", "/nowhere"):
        answer = await admin(idle, "GET", path)
        assert b"sandbox" in (answer.value("content-security-policy") or b""), path
        assert answer.value("x-content-type-options") == b"nosniff"
        assert answer.value("cross-origin-resource-policy") == b"same-origin"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "lines", [("Origin: http://[",), ("Origin: [",), ("Origin: http://localhost", "Origin: x")]
)
async def test_an_origin_that_is_none_is_another(
    idle: GatewayProcess, lines: tuple[str, ...]
) -> None:
    assert (await admin(idle, "GET", "/api/config", None, *lines)).status == 403


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("host", ["[", "]", "a:b:c", "[::1", "localhost:99999", "@localhost"])
async def test_a_host_that_is_none_is_not_this_machine(idle: GatewayProcess, host: str) -> None:
    refused = await admin(idle, "GET", "/api/config", None, f"Host: {host}")
    assert refused.status in (400, 403)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "name", ["..%2fprepare", "a%2Fb", "%23a", "%0a", "%3fa=b", "..", ".", "%2e%2e", "%25", "%ff"]
)
async def test_a_request_that_is_not_there_is_404_whatever_its_name(
    idle: GatewayProcess, name: str
) -> None:
    assert (await admin(idle, "DELETE", f"/api/requests/{name}")).status in (404, 405)


async def test_the_public_listener_serves_nothing_of_it(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        for path in (*PATHS, "/livez", "/readyz", "/metrics"):
            raw = GET.replace(b"/v1/x", path.encode())
            assert (await ask(gateway.port, raw)).status == 404


async def test_the_effective_configuration_is_shown_without_secrets(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    config = simple_config(
        "http://127.0.0.1:1",
        auth=list(auth),
        upstream={
            "headers": {"X-Key": "canary7f3a"},
            "credentials": {"bearer": {"env": SECRET_VARIABLE}},
        },
    )
    gateway = await start_gateway_process(
        {
            **config,
            "auth": auth,
            "store": {
                "url": "redis+sentinel://:canary7f3a@127.0.0.1:1/main?sentinel_password=canary7f3a"
            },
        },
    )
    response = await admin(gateway, "GET", "/api/config")
    assert b"canary7f3a" not in response.body
    shown = response.json()["config"]
    masked = "redis+sentinel://***@127.0.0.1:1/main?sentinel_password=***"
    assert shown["store"]["url"] == masked
    assert shown["upstreams"]["main"]["headers"] == {"X-Key": "***"}
    assert shown["auth"]["corp"]["secret"] == "***"
    assert shown["server"]["header_timeout"] == 10.0  # defaults too


async def test_requests_under_way_are_listed_and_can_be_cancelled(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway_process(
            {**simple_config(upstream.url, auth=list(auth)), "auth": auth}
        )
        async with RawClient(gateway.port) as client:
            await client.send(
                f"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n{bearer(sub='ann')}\r\n\r\n".encode()
            )
            await upstream.release(b"data: 1\n\n")
            await client.read_head()
            assert await client.read_chunk() == b"data: 1\n\n"
            (row,) = (await told(gateway, "/api/requests"))["requests"]
            assert (row["subject"], row["route"], row["status"]) == ("ann", "main", 200)
            assert row["endpoint"] == upstream.url
            connection = upstream.connections[0]
            gone = asyncio.create_task(connection.wait_client_gone())
            ended = await admin(gateway, "DELETE", f"/api/requests/{row['request_id']}")
            assert ended.status == 200
            event = await client.read_chunk()
            assert event is not None
            assert b'"code":"request_cancelled"' in event
            assert await client.read_to_end() == b""
            await gone
        line = await gateway.log.wait_for(lambda line: line.get("end") == "cancelled")
        assert line["request_id"] == row["request_id"]
        again = await admin(gateway, "DELETE", f"/api/requests/{row['request_id']}")
        assert again.status == 404


async def test_a_request_without_an_answer_can_be_cancelled_too(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        asking = asyncio.create_task(ask(gateway.port, GET))
        await upstream.wait_requests(1)
        (row,) = (await told(gateway, "/api/requests"))["requests"]
        await admin(gateway, "DELETE", f"/api/requests/{row['request_id']}")
        answer = await asking
        assert (answer.status, answer.json()["error"]["code"]) == (503, "request_cancelled")
        await upstream.wait_closed()


async def test_it_is_not_ready_while_an_issuer_has_not_given_its_keys(
    start_gateway_process: StartGatewayProcess,
) -> None:
    auth = {
        "corp": {
            "type": "jwt",
            "issuer": "http://127.0.0.1:1",
            "audience": "a",
            "jwks": "http://127.0.0.1:1/keys",
        }
    }
    config = {**simple_config("http://127.0.0.1:1", auth=["corp"]), "auth": auth}
    gateway = await start_gateway_process(config)
    said = await admin(gateway, "GET", "/readyz")
    assert said.status == 503
    assert said.json()["reasons"] == ["worker 0: auth.corp: its keys could not be fetched yet"]


async def test_one_identity_provider_of_several_that_is_away_is_told_and_no_outage(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    away = {
        "type": "jwt",
        "issuer": "http://127.0.0.1:1",
        "audience": "a",
        "jwks": "http://127.0.0.1:1/keys",
    }
    config = simple_config("http://127.0.0.1:1", auth=["corp", "away"])
    gateway = await start_gateway_process({**config, "auth": {**auth, "away": away}})
    said = await admin(gateway, "GET", "/readyz")
    assert said.status == 200
    assert said.json() == {
        "ready": True,
        "reasons": [],
        "degraded": ["worker 0: auth.away: its keys could not be fetched yet"],
    }


async def test_the_right_token_is_answered_at_once_while_others_guess(
    start_gateway_process: StartGatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "canary7f3a")
    gateway = await start_gateway_process(
        simple_config("http://127.0.0.1:1"),
        admin={"listen": "127.0.0.1:0", "token": {"env": "ADMIN_TOKEN"}},
    )
    wrong = "Authorization: Bearer wrong"
    guesses = [
        asyncio.create_task(admin(gateway, "GET", "/api/session", None, wrong)),
        *(asyncio.create_task(admin(gateway, "GET", "/api/config", None, wrong)) for _ in range(8)),
    ]
    await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
    right = "Authorization: Bearer canary7f3a"
    assert (await admin(gateway, "GET", "/api/config", None, right)).status == 200
    assert not all(guess.done() for guess in guesses)
    await asyncio.gather(*guesses)
    line = await gateway.log.wait_for(lambda line: line["event"] == "admin_token_refused")
    assert (line["client"], line["count"]) == ("127.0.0.1", 1)
    assert b"wrong" not in gateway.log.raw


@pytest.mark.asyncio(loop_scope="module")
async def test_a_body_that_cannot_be_decoded_is_400(idle: GatewayProcess) -> None:
    lines = ("Content-Encoding: gzip", "Origin: http://localhost")
    assert (await admin(idle, "POST", "/api/session", {"a": 1}, *lines)).status == 400


def test_what_plug_ins_are_given_is_masked() -> None:
    options = {"key": "canary7f3a", "nested": {"key": ["canary7f3a"]}}
    plugin = {"use": "acme.headers.stamp", "options": options}
    text = config_text(simple_config("http://127.0.0.1:1", middleware=[plugin]), {})
    shown = masked(load_text(text))
    assert shown["routes"][0]["middleware"][0]["options"] == {"key": "***", "nested": "***"}
    assert "canary7f3a" not in str(shown)


async def test_what_is_not_there_is_404_and_405_in_json(
    start_gateway_process: StartGatewayProcess,
) -> None:
    gateway = await start_gateway_process(simple_config("http://127.0.0.1:1"))
    assert (await admin(gateway, "GET", "/api/nothing")).json() == {"error": "Not Found"}
    assert (await admin(gateway, "PUT", "/api/reload")).status == 405
