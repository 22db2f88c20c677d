"""Self-service: what callers read of themselves, and the keys that they make."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.admin import admin
from tests.support.client import Response, ask, request
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import asked_until


async def started(
    start: StartGatewayProcess,
    upstream: ScriptedUpstream,
    folder: Path,
    auth: Auth | None = None,
    **route: Any,
) -> GatewayProcess:
    config = simple_config(upstream.url, auth=["keys", *(auth or ())], models=["m", "n"], **route)
    price = {"input": 1e6, "output": 1e6}
    config["models"] = {name: {"upstream": "main", "price": price} for name in ("m", "n")}
    store = {"url": f"sqlite://{folder / 'store.db'}"}
    telemetry = {"traces": {"local": str(folder / "traces.db")}}
    keys = {"keys": {"type": "api_key"}}
    return await start(config, auth={**keys, **(auth or {})}, store=store, telemetry=telemetry)


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


def of_models(answer: Response) -> list[dict[str, Any]]:
    """The rows of usage but for that of the requests to `me`."""
    return [row for row in answer.json()["usage"] if row["model"]]


async def test_a_caller_reads_its_past_usage_and_the_end_of_its_budgets(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    used = {"usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    async with ScriptedUpstream(json_reply(used)) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path, self_service=True)
        own = {"budgets": ["1000 tokens/month"]}
        secret = await key_of(gateway, owner="ann", tags=["ci"], allowance=own)
        other = await key_of(gateway, owner="kim")
        for one, model in ((secret, "m"), (secret, "n"), (other, "m")):
            body = json.dumps({"model": model, "messages": []}).encode()
            headers = [f"Authorization: Bearer {one}", "Connection: close"]
            sent = request("POST", headers=headers, body=body)
            assert (await ask(gateway.port, sent)).status == 200
        found = await asked_until(
            lambda: call(gateway, secret, path="/usage?by=model,key"),
            lambda answer: len(of_models(answer)) == 2,
            patience_s=20.0,
        )
        rows = of_models(found)
        key_id = secret.split("-")[2]
        assert [(row["model"], row["key"]) for row in rows] == [("m", key_id), ("n", key_id)]
        assert [(row["requests"], row["tokens_in"], row["cost"]) for row in rows] == [
            (1, 10, 15)
        ] * 2
        by_day = (await call(gateway, secret, path="/usage")).json()
        assert {row["day"] for row in by_day["usage"]} == {by_day["until"]}
        assert (await call(gateway, secret, path="/usage?until=2020-01-01")).json()["usage"] == []
        [limit] = (await call(gateway, secret)).json()["limits"]
        assert (limit["used"], limit["remaining"], limit["period"]) == (30, 970, "month")
        assert limit["resets"].endswith("-01T00:00:00+00:00")
        for wrong in ("?by=subject", "?by=day,x", "?since=soon", "?until=2026-13-01"):
            assert (await call(gateway, secret, path=f"/usage{wrong}")).status == 400, wrong
        assert (await call(gateway, secret, "POST", "/usage")).status == 405


async def test_a_caller_with_a_token_makes_keys_of_its_team(
    start_gateway_process: StartGatewayProcess, tmp_path: Path, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        corp = {"corp": {**auth["corp"], "claims": {"team": "team", "tenant": "org"}}}
        gateway = await started(
            start_gateway_process, upstream, tmp_path, auth=corp, self_service=True
        )
        team = {"user_keys": 1, "key_lifetime": "30d", "models": ["m"]}
        assert (await admin(gateway, "PUT", "/api/teams/search", team)).status == 200
        assert (await admin(gateway, "PUT", "/api/teams/closed", {})).status == 200
        claims = {"sub": "ann", "org": "acme", "scope": "read"}
        token = bearer(**claims, team="search").rpartition(" ")[2]
        await until(gateway, token, 200)
        made = await call(gateway, token, "POST", "/keys", {"days": 400})
        assert made.status == 201, made.body
        secret = made.json()["secret"]
        await until(gateway, secret, 200)
        account = (await call(gateway, secret)).json()
        assert (account["subject"], account["tenant"], account["team"]) == ("ann", "acme", "search")
        assert (account["models"], account["scopes"]) == (["m"], ["read"])
        assert (await call(gateway, token, "POST", "/keys", {})).status == 409
        [listed] = (await call(gateway, token, path="/keys")).json()["keys"]
        assert listed["id"] == secret.split("-")[2]
        keys = (await admin(gateway, "GET", "/api/keys")).json()["providers"][0]["keys"]
        assert [key["routes"] for key in keys] == [["main"]]
        assert (await call(gateway, token, "DELETE", f"/keys/{listed['id']}")).status == 200
        await until(gateway, secret, 401)
        other = bearer(sub="ann", team="closed").rpartition(" ")[2]
        await until(gateway, other, 200)
        assert (await call(gateway, other, "POST", "/keys", {})).status == 403
