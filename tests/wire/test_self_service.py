"""Self-service: what callers read of themselves, and the keys that they make."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.admin import admin
from tests.support.client import Response, ask, request
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import asked_until


async def started(
    start: StartGatewayProcess, upstream: ScriptedUpstream, folder: Path, **route: Any
) -> GatewayProcess:
    config = simple_config(upstream.url, auth=["keys"], models=["m", "n"], **route)
    config["models"] = {name: {"upstream": "main"} for name in ("m", "n")}
    store = {"url": f"sqlite://{folder / 'store.db'}"}
    return await start(config, auth={"keys": {"type": "api_key"}}, store=store)


async def call(
    gateway: GatewayProcess, secret: str, method: str = "GET", path: str = "", body: Any = None
) -> Response:
    headers = [f"Authorization: Bearer {secret}", "Connection: close"]
    data = b"" if body is None else json.dumps(body).encode()
    sent = request(method, f"/v1/me{path}", headers=headers, body=data)
    return await ask(gateway.port, sent)


async def key_of(gateway: GatewayProcess, **order: Any) -> str:
    """Make a key, and wait until it is accepted."""
    secret = str((await admin(gateway, "POST", "/api/keys", order)).json()["secret"])
    await until(gateway, secret, 200)
    return secret


async def until(gateway: GatewayProcess, secret: str, status: int) -> None:
    await asked_until(lambda: call(gateway, secret), lambda found: found.status == status)


async def test_a_caller_reads_its_models_limits_and_budgets(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    used = {"usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    async with ScriptedUpstream(json_reply(used)) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path, self_service=True)
        limits = {"limits": {"budgets": ["1000 tokens/day"]}, "models": ["m"]}
        assert (await admin(gateway, "PUT", "/api/teams/search", limits)).status == 200
        secret = await key_of(gateway, owner="ann", team="search", tags=["ci"])
        body = json.dumps({"model": "m", "messages": []}).encode()
        headers = [f"Authorization: Bearer {secret}", "Connection: close"]
        assert (await ask(gateway.port, request("POST", headers=headers, body=body))).status == 200
        found = await asked_until(
            lambda: call(gateway, secret),
            lambda answer: answer.json()["limits"][0]["remaining"] == 985,
        )
        account = found.json()
        assert (account["subject"], account["team"], account["tags"]) == ("ann", "search", ["ci"])
        assert account["models"] == ["m"]
        [limit] = account["limits"]
        assert (limit["limit"], limit["size"], limit["period"]) == ("own:team", 1000, "day")
        assert found.value("cache-control") == b"no-store"
        assert (await call(gateway, "sk-gw-wrong")).status == 401
        assert (await call(gateway, secret, "POST")).status == 405
        assert (await call(gateway, secret, "GET", "/else")).status == 404
        assert (await call(gateway, secret, "POST", "/keys")).status == 403


async def test_a_caller_makes_keys_within_what_its_team_allows(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path, self_service=True)
        team = {"user_keys": 2, "key_lifetime": "30d"}
        assert (await admin(gateway, "PUT", "/api/teams/search", team)).status == 200
        order = {"owner": "ann", "team": "search", "allowance": {"concurrency": 7}}
        secret = await key_of(gateway, **order)
        other = await key_of(gateway, owner="kim", team="search")
        orders: list[Any] = [{"models": ["x"]}, {"models": "m"}, {"days": 0}, {"scopes": ["a"]}, []]
        for wrong in orders:
            assert (await call(gateway, secret, "POST", "/keys", wrong)).status == 400, wrong
        answers = await asyncio.gather(
            *(call(gateway, secret, "POST", "/keys", {"models": ["m"]}) for _ in range(6))
        )
        statuses = [answer.status for answer in answers]
        assert statuses.count(201) <= 2
        assert set(statuses) <= {201, 409}
        while (await call(gateway, secret, "POST", "/keys", {"days": 1})).status == 201:
            pass
        keys = (await call(gateway, secret, "GET", "/keys")).json()["keys"]
        assert len(keys) == 2
        assert all(key["expires"] is not None for key in keys)
        assert (await call(gateway, other, "GET", "/keys")).json() == {"keys": []}

        path = f"/keys/{keys[0]['id']}"
        assert (await call(gateway, other, "DELETE", path)).status == 404
        assert (await call(gateway, secret, "DELETE", path)).status == 200
        made = (await call(gateway, secret, "POST", "/keys", {"models": ["n"]})).json()
        await until(gateway, made["secret"], 200)
        account = (await call(gateway, made["secret"])).json()
        assert (account["subject"], account["models"]) == ("ann", ["n"])
        assert [one["size"] for one in account["limits"]] == [7]


async def test_without_the_option_the_path_is_forwarded(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path)
        secret = str((await admin(gateway, "POST", "/api/keys", {"owner": "a"})).json()["secret"])
        await until(gateway, secret, 200)
        assert (await call(gateway, secret)).json() == {}
