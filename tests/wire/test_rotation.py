"""Endpoints with credentials and quotas of their own: a refused request goes to the next one."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.upstream.health import EndpointState
from tests.support.client import request
from tests.support.exchange import POST, ask
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.peers import ranked, state_of, upstream_of
from tests.support.upstream import Request, ScriptedUpstream, json_reply, raw_reply, reply

OK = json_reply({"served": True})
FULL = json_reply({"error": {"message": "quota"}}, status="429 Too Many Requests")


def accounts(url: str, **upstream: Any) -> dict[str, Any]:
    """Return a configuration of two accounts of the provider at `url`, `first` before `second`."""
    found = [
        {
            "url": url,
            "name": name,
            "priority": rank,
            "credentials": {"bearer": {"env": f"{name.upper()}_KEY"}},
        }
        for rank, name in enumerate(("first", "second"))
    ]
    return simple_config(url, upstream={"endpoints": found, **upstream})


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST_KEY", "sk-first")
    monkeypatch.setenv("SECOND_KEY", "sk-second")


def key_of(request: Request) -> bytes | None:
    return request.value("authorization")


def state(gateway: RunningGateway, name: str) -> EndpointState:
    upstream = upstream_of(gateway)
    return upstream.state(next(e for e in upstream.endpoints if e.key == name))


async def test_accounts_at_one_address_each_send_their_own_key(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(OK) as provider:
        document = accounts(provider.url)
        for endpoint in document["upstreams"]["main"]["endpoints"]:
            del endpoint["priority"]
        document["upstreams"]["main"]["balance"] = "round_robin"
        gateway = await start_gateway(document)
        for _ in range(4):
            assert (await ask(gateway.port, request("POST", body=b"{}"))).status == 200
        assert sorted(key_of(one) or b"" for one in provider.requests) == [
            b"Bearer sk-first",
            b"Bearer sk-first",
            b"Bearer sk-second",
            b"Bearer sk-second",
        ]


async def test_a_post_that_one_account_refuses_goes_to_the_next_at_once(
    start_gateway: StartGateway,
) -> None:
    def answer(asked: Request) -> bytes:
        if key_of(asked) == b"Bearer sk-first":
            return reply(b"{}", status="429 Too Many Requests", headers=["Retry-After: 30"])
        return reply(b'{"served":true}')

    async with ScriptedUpstream(raw_reply(answer)) as provider:
        gateway = await start_gateway(accounts(provider.url))
        response = await ask(gateway.port, POST)
        assert (response.status, response.json()) == (200, {"served": True})
        assert [key_of(one) for one in provider.requests] == [
            b"Bearer sk-first",
            b"Bearer sk-second",
        ]
        assert provider.requests[0].body == provider.requests[1].body
        assert state(gateway, "first") is EndpointState.COOLING
        # While it cools down, nobody is sent there.
        assert (await ask(gateway.port, POST)).status == 200
        assert key_of(provider.requests[2]) == b"Bearer sk-second"
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert (logged["attempts"], logged["endpoint"]) == (2, "second")


async def test_the_last_refusal_is_passed_on_where_all_accounts_refuse(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(FULL) as first, ScriptedUpstream(FULL) as second:
        gateway = await start_gateway(ranked(first.url, second.url))
        assert (await ask(gateway.port, POST)).status == 429
        assert [len(first.requests), len(second.requests)] == [1, 1]
        assert state_of(gateway, first.url) is EndpointState.COOLING


async def test_a_key_that_is_no_longer_valid_is_passed_over_where_that_is_configured(
    start_gateway: StartGateway,
) -> None:
    def answer(asked: Request) -> bytes:
        if key_of(asked) == b"Bearer sk-first":
            return reply(b"{}", status="401 Unauthorized")
        return reply(b'{"served":true}')

    async with ScriptedUpstream(raw_reply(answer)) as provider:
        gateway = await start_gateway(accounts(provider.url))
        assert (await ask(gateway.port, POST)).status == 401
        gateway = await start_gateway(accounts(provider.url, retries={"rotate": [401, 429]}))
        assert (await ask(gateway.port, POST)).status == 200
        assert state(gateway, "first") is EndpointState.COOLING


async def test_an_account_whose_quota_is_used_up_is_left_alone_until_it_is_renewed(
    start_gateway: StartGateway,
) -> None:
    def answer(asked: Request) -> bytes:
        told = (
            []
            if key_of(asked) != b"Bearer sk-first"
            else [
                "x-ratelimit-remaining-requests: 0",
                "x-ratelimit-reset-requests: 2m0s",
            ]
        )
        return reply(b'{"served":true}', headers=told)

    async with ScriptedUpstream(raw_reply(answer)) as provider:
        gateway = await start_gateway(accounts(provider.url))
        for _ in range(2):
            assert (await ask(gateway.port, POST)).status == 200
        assert [key_of(one) for one in provider.requests] == [
            b"Bearer sk-first",
            b"Bearer sk-second",
        ]
