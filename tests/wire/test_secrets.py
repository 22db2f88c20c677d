"""X2, X5, X6 and X12: what must not get out, where no request may go, who is let in by nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.upstream import resolve
from tests.support.client import ask, request
from tests.support.figures import Report
from tests.support.gateway import StartGateway, simple_config
from tests.support.refusal import assert_error
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, hang, json_reply, reply_then_reset

CANARY = "canary7f3a"
SCRIPTS = {
    "served": json_reply({"said": CANARY}),
    "error of the upstream's": json_reply(
        # Its words are logged, but for what has the form of a credential.
        {"error": f"refused: Bearer {CANARY}, sk-{CANARY}, api_key={CANARY}"},
        status=f"500 {CANARY}",
    ),
    "reset": reply_then_reset(),
    "garbage": reply_then_reset(f"{CANARY}\r\n\r\n".encode()),
    "silence": hang,
}


def canaries(credential: str) -> bytes:
    """A request with a secret in every place that can hold one."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": CANARY}]}).encode()
    head = [
        f"POST /v1/x?api_key={CANARY}&q={CANARY} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        credential,
        f"Cookie: session={CANARY}",
        f"X-Secret: {CANARY}",
        f"User-Agent: {CANARY}",
        f"Referer: https://a.test/?{CANARY}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(head).encode() + body


@pytest.mark.parametrize("case", SCRIPTS)
@pytest.mark.parametrize("known", [True, False])
async def test_x2_no_secret_of_a_request_is_in_the_log(
    start_gateway: StartGateway, auth: Auth, case: str, known: bool, report: Report
) -> None:
    async with ScriptedUpstream(SCRIPTS[case]) as upstream:
        config = simple_config(
            upstream.url,
            auth=list(auth),
            upstream={
                "credentials": {"bearer": {"env": "GATEWAY_TEST_JWT_SECRET"}},
                "timeouts": {"first_byte": "200ms"},
                "retries": {"attempts": 0},
            },
        )
        gateway = await start_gateway({**config, "auth": auth})
        credential = bearer(jti=CANARY) if known else f"Authorization: Bearer {CANARY}"
        await ask(gateway.port, canaries(credential))
        await gateway.wait_for_log(lambda line: line["event"] == "request")
        token = credential.split()[-1].encode()
        hits = gateway.log.raw.count(CANARY.encode()) + gateway.log.raw.count(token)
    report("X2", "secrets in the log", hits)
    assert hits == 0


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "100.64.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"]
)
async def test_x5_a_name_that_comes_to_point_elsewhere_is_not_connected_to(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch, address: str, report: Report
) -> None:
    """DNS rebinding: the name was fine when the configuration was checked."""
    asked: list[str] = []

    async def look_up(host: str, port: int) -> list[tuple[str, int]]:
        asked.append(host)
        return [(address, port)]

    monkeypatch.setattr(resolve, "look_up", look_up)
    gateway = await start_gateway(simple_config("http://models.test:80"))
    answer = await ask(gateway.port, request())
    assert_error(answer, 502, code="upstream_connect_failed")
    line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert "may not be connected to" in line["reason"]
    assert asked
    report("X5", "connections to refused addresses", 0)


async def test_x6_a_redirect_takes_no_credential_anywhere(
    start_gateway: StartGateway, auth: Auth, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as elsewhere, ScriptedUpstream() as upstream:
        upstream.script = json_reply(
            {}, status="307 Temporary Redirect", headers=[f"Location: {elsewhere.url}/steal"]
        )
        config = simple_config(
            upstream.url,
            auth=list(auth),
            upstream={"credentials": {"bearer": {"env": "GATEWAY_TEST_JWT_SECRET"}}},
        )
        gateway = await start_gateway({**config, "auth": auth})
        raw = f"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{bearer()}\r\n\r\n"
        answer = await ask(gateway.port, raw.encode())
        assert answer.status == 307
        assert elsewhere.connections == []
    report("X6", "credentials sent where a redirect points", len(elsewhere.requests))


@pytest.mark.parametrize(
    ("path", "agent"),
    [
        ("/health", ""),
        ("/healthz", ""),
        ("/livez", ""),
        ("/readyz", ""),
        ("/metrics", ""),
        ("/api/config", ""),
        ("/v1/x", "kube-probe/1.30"),
        ("/v1/x", "GoogleHC/1.0"),
        ("/v1/x", "ELB-HealthChecker/2.0"),
        ("/v1/health", ""),
        ("/v1/metrics", ""),
    ],
)
async def test_x12_no_path_and_no_user_agent_goes_round_authentication(
    start_gateway: StartGateway, auth: Auth, path: str, agent: str, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        document: dict[str, Any] = simple_config(upstream.url, auth=list(auth))
        gateway = await start_gateway({**document, "auth": auth})
        raw = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        raw += f"User-Agent: {agent}\r\n\r\n" if agent else "\r\n"
        answer = await ask(gateway.port, raw.encode())
        assert answer.status == (401 if path.startswith("/v1/") else 404)
        assert upstream.requests == []
    report("X12", "requests let in", len(upstream.requests))
