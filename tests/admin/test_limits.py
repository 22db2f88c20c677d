"""`GET /api/limits`: what is left, by key, and who was refused of late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import told
from tests.support.client import Response, ask
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.patient_stores import stores_wait
from tests.support.redis import StartRedis
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply

LIMITS = {
    "few": {"key": "subject", "requests": "3/day"},
    "slots": {"key": "tenant", "concurrency": 4},
    "monthly": {"key": ["tenant", "subject"], "budget": "1000 tokens/month"},
}
USAGE = {"usage": {"prompt_tokens": 30, "completion_tokens": 70, "total_tokens": 100}}


async def request(gateway: GatewayProcess, **claims: str) -> Response:
    head = f"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{bearer(**claims)}\r\n"
    return await ask(gateway.port, f"{head}\r\n".encode())


@pytest.fixture(params=["sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, start_redis: StartRedis) -> str:
    if request.param == "redis":
        return (await start_redis()).url
    return f"sqlite://{tmp_path / 'store.db'}"


async def test_all_workers_keys_are_told_with_what_their_store_has_left(
    start_gateway_process: StartGatewayProcess, auth: Auth, store: str
) -> None:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        gateway = await start_gateway_process(
            {
                **simple_config(
                    upstream.url,
                    auth=list(auth),
                    limits=list(LIMITS),
                    server={"workers": 2},
                ),
                "auth": auth,
                "limits": LIMITS,
                "store": {"url": store},
            },
            first=stores_wait(),
        )
        answers = [await request(gateway, sub="ann", org="acme") for _ in range(5)]
        assert [answer.status for answer in answers] == [200] * 3 + [429] * 2
        found = await told(gateway, "/api/limits")
    keys: dict[str, Any] = {key["limit"]: key for key in found["keys"]}
    assert found["keys"][0]["limit"] == "few"  # what is short comes first
    few = keys["few"]
    assert (few["parts"], few["by"], few["unit"]) == (["corp/ann"], ["subject"], "requests")
    assert (few["remaining"], few["size"], few["refused"]) == (0, 3, 2)
    assert few["wait_s"] > 3600
    assert (keys["slots"]["remaining"], keys["slots"]["size"]) == (4, 4)
    budget = keys["monthly"]
    assert budget["parts"] == ["t:acme", "corp/ann"]
    assert (budget["remaining"], budget["size"], budget["period"]) == (700, 1000, "month")
    assert [one["limit"] for one in found["refused"]] == ["few", "few"]
    assert found["refused"][0]["subject"] == "ann"
    assert found["refused"][0]["at"] >= found["refused"][1]["at"]
    assert found["store"] == "closed"


async def test_looking_does_not_use_anything_up(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = simple_config(upstream.url, auth=list(auth), limits=["few"])
        gateway = await start_gateway_process(
            {
                **config,
                "auth": auth,
                "limits": LIMITS | {"monthly": {"key": "ip", "requests": "1/second"}},
            }
        )
        await request(gateway)
        for _ in range(5):
            (key,) = (await told(gateway, "/api/limits"))["keys"]
            assert key["remaining"] == 2


async def test_a_budget_of_nothing_is_told_as_used_up(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        config = simple_config(upstream.url, limits=["none"])
        config["store"] = {"url": f"sqlite://{tmp_path / 'store.db'}"}
        config["limits"] = {"none": {"key": "ip", "budget": "0 tokens/month"}}
        gateway = await start_gateway_process(config, first=stores_wait())
        assert (await request(gateway)).status == 429
        (key,) = (await told(gateway, "/api/limits"))["keys"]
    assert (key["size"], key["remaining"], key["refused"]) == (0, 0, 1)
