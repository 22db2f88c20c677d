"""Calls from web pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.client import Response, ask
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply

APP = "https://app.test"


async def call(gateway: RunningGateway, method: str, *headers: str) -> Response:
    head = [f"{method} /v1/x HTTP/1.1", "Host: h", "Connection: close", *headers]
    return await ask(gateway.port, "\r\n".join([*head, "", ""]).encode(), method)


def preflight(origin: str) -> tuple[str, ...]:
    return (
        f"Origin: {origin}",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization",
    )


def cors_config(upstream: ScriptedUpstream, auth: Auth, **cors: Any) -> dict[str, Any]:
    options = {"origins": [APP], **cors}
    route: dict[str, Any] = {"auth": ["corp"], "methods": ["GET", "POST"], "cors": options}
    return {**simple_config(upstream.url, **route), "auth": auth}


async def test_a_preflight_is_answered_without_a_credential_and_not_forwarded(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(cors_config(upstream, auth, credentials=True))
        response = await call(gateway, "OPTIONS", *preflight(APP))
    assert response.status == 204
    assert response.value("access-control-allow-origin") == APP.encode()
    assert response.value("access-control-allow-methods") == b"GET, POST"
    assert b"Authorization" in (response.value("access-control-allow-headers") or b"")
    assert response.value("access-control-allow-credentials") == b"true"
    assert response.value("access-control-max-age") == b"600"
    assert b"Origin" in (response.value("vary") or b"")
    assert not upstream.requests


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.test",
        "https://app.test.evil.test",
        "https://evilapp.test",
        "http://app.test",
        "https://app.test:8443",
        "https://APP.test",
        "null",
        "",
    ],
)
async def test_x7_another_origin_is_allowed_nothing(
    start_gateway: StartGateway, auth: Auth, origin: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(cors_config(upstream, auth))
        answers = [
            await call(gateway, "OPTIONS", *preflight(origin)),
            await call(gateway, "GET", f"Origin: {origin}", bearer()),
        ]
    for answer in answers:
        assert answer.value("access-control-allow-origin") is None
        assert b"Origin" in (answer.value("vary") or b"")


async def test_responses_and_errors_may_be_read_by_the_page(
    start_gateway: StartGateway, auth: Auth
) -> None:
    theirs = ["Access-Control-Allow-Origin: *", "Access-Control-Allow-Methods: PUT"]
    async with ScriptedUpstream(json_reply({}, headers=theirs)) as upstream:
        gateway = await start_gateway(cors_config(upstream, auth))
        good = await call(gateway, "GET", f"Origin: {APP}", bearer())
        refused = await call(gateway, "GET", f"Origin: {APP}")
    assert (good.status, refused.status) == (200, 401)
    for answer in (good, refused):
        assert answer.values("access-control-allow-origin") == [APP.encode()]
        assert answer.values("access-control-allow-methods") == []
        assert b"X-Request-ID" in (answer.value("access-control-expose-headers") or b"")


async def test_any_origin_is_said_with_a_star_and_needs_no_vary(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(cors_config(upstream, auth, origins=["*"]))
        response = await call(gateway, "GET", "Origin: https://any.test", bearer())
    assert response.value("access-control-allow-origin") == b"*"
    assert response.value("access-control-allow-credentials") is None
    assert response.value("vary") is None


async def test_options_that_is_no_preflight_is_405_where_it_is_not_served(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(cors_config(upstream, auth))
        response = await call(gateway, "OPTIONS", bearer())
    assert response.status == 405
    assert response.value("allow") == b"GET, POST"


async def test_without_cors_a_route_says_nothing_of_it(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway({**simple_config(upstream.url, auth=["corp"]), "auth": auth})
        response = await call(gateway, "GET", f"Origin: {APP}", bearer())
    assert response.value("access-control-allow-origin") is None
    assert response.value("vary") is None


SDKS = {
    "openai-js": "authorization,content-type,openai-organization,openai-project,openai-beta,"
    "user-agent,x-stainless-arch,x-stainless-custom-poll-interval,x-stainless-helper-method,"
    "x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-poll-helper,"
    "x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout",
    "anthropic-js": "anthropic-beta,anthropic-dangerous-direct-browser-access,anthropic-version,"
    "content-type,idempotency-key,x-api-key,x-stainless-arch,x-stainless-helper,"
    "x-stainless-helper-method,x-stainless-lang,x-stainless-os,x-stainless-package-version,"
    "x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout",
}


def allowed_headers(answer: Response) -> set[str]:
    value = answer.value("access-control-allow-headers")
    return set(value.decode().lower().split(", ")) if value else set()


def asking(headers: str) -> tuple[str, ...]:
    return (
        f"Origin: {APP}",
        "Access-Control-Request-Method: POST",
        f"Access-Control-Request-Headers: {headers}",
    )


@pytest.mark.parametrize("asked", SDKS.values(), ids=SDKS)
async def test_the_headers_of_sdks_are_allowed_without_being_named(
    start_gateway: StartGateway, auth: Auth, asked: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(cors_config(upstream, auth))
        answer = await call(gateway, "OPTIONS", *asking(asked))
        others = await call(gateway, "OPTIONS", *asking("x-other,x-stainless"))
    assert set(asked.split(",")) <= allowed_headers(answer)
    assert not {"x-other", "x-stainless", "*"} & allowed_headers(others)


@pytest.mark.parametrize("credentials", [True, False])
async def test_a_star_is_every_header_that_is_asked_for_authorization_too(
    start_gateway: StartGateway, auth: Auth, credentials: bool
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = cors_config(upstream, auth, headers=["*"], credentials=credentials)
        gateway = await start_gateway(document)
        answer = await call(gateway, "OPTIONS", *asking("authorization, x-mine , b@d,,x y"))
        nothing = await call(gateway, "OPTIONS", *asking("")[:2])
        foreign = ("Origin: https://evil.test", *asking("authorization")[1:])
        refused = await call(gateway, "OPTIONS", *foreign)
    assert allowed_headers(answer) == {"authorization", "x-mine"}
    assert (nothing.status, allowed_headers(nothing)) == (204, set())
    assert allowed_headers(refused) == set()


async def test_a_page_may_read_what_sdks_read_of_a_response(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(cors_config(upstream, auth))
        answer = await call(gateway, "GET", f"Origin: {APP}", bearer())
    exposed = (answer.value("access-control-expose-headers") or b"").decode().lower().split(", ")
    assert {
        *("x-request-id", "request-id", "retry-after", "retry-after-ms", "x-should-retry"),
        *("x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens", "ratelimit"),
    } <= set(exposed)
