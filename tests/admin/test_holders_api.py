"""Limits of keys, users and teams, set over the admin API, and counted by all workers and
replicas together.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import admin, told
from tests.support.client import Response, ask, request
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.patient_stores import stores_wait
from tests.support.redis import StartRedis
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import PATIENCE_S, SLACK_S, asked_until

USAGE = {"usage": {"prompt_tokens": 10, "completion_tokens": 5}}
PRICE = {"input": 1_000_000, "output": 1_000_000}
"""One unit of money for a token."""


async def started(
    start: StartGatewayProcess, upstream: ScriptedUpstream, store: str, workers: int = 1
) -> GatewayProcess:
    config = simple_config(upstream.url, auth=["keys"])
    config["models"] = {name: {"upstream": "main", "price": PRICE} for name in ("m", "big")}
    config["routes"][0] |= {"models": ["m", "big"]}
    config["server"] = {**config.get("server", {}), "workers": workers}
    auth = {"keys": {"type": "api_key"}}
    return await start(config, auth=auth, store={"url": store}, first=stores_wait())


async def chat(gateway: GatewayProcess, secret: str, model: str = "m") -> Response:
    """A request that uses 15 tokens, of a connection of its own, for any worker."""
    headers = [f"Authorization: Bearer {secret}", "Connection: close"]
    body = json.dumps({"model": model, "messages": [], "max_tokens": 5}).encode()
    return await ask(gateway.port, request("POST", headers=headers, body=body))


async def made(gateway: GatewayProcess, **order: Any) -> str:
    response = await admin(gateway, "POST", "/api/keys", order)
    assert response.status == 200, response.body
    return str(response.json()["secret"])


async def put(gateway: GatewayProcess, path: str, settings: Any) -> dict[str, Any]:
    response = await admin(gateway, "PUT", path, settings)
    assert response.status == 200, response.body
    document: dict[str, Any] = response.json()
    return document


async def until_every_worker(gateway: GatewayProcess, secret: str, wanted: int) -> None:
    """Wait until a key gets this status of every worker, by requests that limits do not count."""

    async def statuses() -> set[int]:
        headers = [f"Authorization: Bearer {secret}", "Connection: close"]
        found = await asyncio.gather(
            *(ask(gateway.port, request("GET", "/v1/models", headers=headers)) for _ in range(12))
        )
        return {response.status for response in found}

    await asked_until(statuses, lambda found: found == {wanted}, patience_s=PATIENCE_S)


async def outcomes(gateway: GatewayProcess, secret: str, count: int) -> Counter[str]:
    """What becomes of requests that are sent at once: `ok`, or the message of the error."""
    answers = await asyncio.gather(*(chat(gateway, secret) for _ in range(count)))
    return Counter(
        "ok" if answer.status == 200 else _message(answer).partition(" is reached")[0]
        for answer in answers
    )


def _message(response: Response) -> str:
    return str(response.json()["error"]["message"])


async def test_key_user_and_team_bound_one_another_exactly_over_two_workers(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        store = f"sqlite://{tmp_path / 'store.db'}"
        gateway = await started(start_gateway_process, upstream, store, workers=2)
        team = {
            "limits": {"tokens": "300/day"},
            "per_user": {"budgets": ["180 tokens/day"]},
            "models": ["m"],
        }
        await put(gateway, "/api/teams/search", team)
        own = {"budgets": ["105 USD/day"]}
        narrow = await made(gateway, owner="ann", team="search", allowance=own)
        wide = await made(gateway, owner="ann", team="search")
        other = await made(gateway, owner="kim", team="search")
        for secret in (narrow, wide, other):
            await until_every_worker(gateway, secret, 200)
        # One at a time: each has to be settled before the next is reserved.
        assert await in_turn(gateway, narrow, 8) == {"ok": 6, "The key's budget of 105 USD/day": 2}
        assert await in_turn(gateway, wide, 8) == {
            "ok": 5,
            "The user's budget of 180 tokens/day": 3,
        }
        assert await in_turn(gateway, other, 10) == {
            "ok": 8,
            "The team's limit of 300 tokens a day": 2,
        }
        assert (await chat(gateway, other, "big")).status == 404
        shown = (await told(gateway, "/api/limits"))["keys"]
        assert {(one["by"][0], one["unit"]) for one in shown} == {
            ("key", "budget_money"),
            ("user", "budget_tokens"),
            ("team", "tokens"),
        }


async def test_tokens_and_keys_of_a_team_share_its_limits(
    start_gateway_process: StartGatewayProcess, tmp_path: Path, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        config = simple_config(upstream.url, auth=["corp", "keys"], models=["m", "big"])
        config["models"] = {name: {"upstream": "main", "price": PRICE} for name in ("m", "big")}
        corp = {
            **auth["corp"],
            "claims": {"team": "groups"},
            "teams": {"/eng/search": "search"},
            "default_team": "guests",
        }
        store = {"url": f"sqlite://{tmp_path / 'store.db'}"}
        gateway = await start_gateway_process(
            config,
            auth={"corp": corp, "keys": {"type": "api_key"}},
            store=store,
            first=stores_wait(),
        )
        team = {"limits": {"budgets": ["90 USD/day"]}, "models": ["m"]}
        await put(gateway, "/api/teams/search", team)
        await put(gateway, "/api/teams/guests", {"per_user": {"budgets": ["30 tokens/day"]}})
        await put(gateway, "/api/users/kim", {"limits": {"budgets": ["60 tokens/day"]}})
        ann = bearer(sub="ann", groups=["/all", "/eng/search"]).rpartition(" ")[2]
        kim = bearer(sub="kim", groups=["/eng/search"]).rpartition(" ")[2]
        guest = bearer(sub="guest").rpartition(" ")[2]
        key = await made(gateway, owner="kim", team="search")
        for secret in (ann, kim, guest, key):
            await until_every_worker(gateway, secret, 200)
        assert (await chat(gateway, ann, "big")).status == 404
        # A user's tokens and keys share the user's budget, and all share the team's.
        assert await in_turn(gateway, kim, 2) == {"ok": 2}
        assert await in_turn(gateway, key, 2) == {
            "ok": 1,
            "The user's budget of 60 tokens/day": 1,
        }
        assert await in_turn(gateway, ann, 5) == {"ok": 2, "The team's budget of 90 USD/day": 3}
        assert await in_turn(gateway, guest, 2) == {
            "ok": 1,
            "The user's budget of 30 tokens/day": 1,
        }
        await put(gateway, "/api/teams/search", {})
        response = await admin(gateway, "POST", "/api/teams/search/suspend")
        assert response.status == 200, response.body
        await until_every_worker(gateway, ann, 401)
        assert b"The team of the token is suspended" in (await chat(gateway, ann)).body
        await until_every_worker(gateway, guest, 200)


async def in_turn(gateway: GatewayProcess, secret: str, count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(count):
        found += await outcomes(gateway, secret, 1)
    return found


async def test_two_replicas_count_a_team_to_the_unit_and_change_it_within_a_second(
    start_gateway_process: StartGatewayProcess, start_redis: StartRedis
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        async with asyncio.TaskGroup() as group:
            starting = [
                group.create_task(started(start_gateway_process, upstream, redis.url))
                for _ in range(2)
            ]
        one, other = (task.result() for task in starting)
        await put(one, "/api/teams/search", {})
        secret = await made(one, owner="ann", team="search")
        for gateway in (one, other):
            await until_every_worker(gateway, secret, 200)
        await put(one, "/api/teams/search", {"limits": {"requests": "40/day", "concurrency": 50}})
        counted = 0
        for gateway in (one, other):
            await asked_until(
                lambda gateway=gateway: chat(gateway, secret),  # type: ignore[misc]
                lambda answer: answer.value("ratelimit") is not None,
                patience_s=PATIENCE_S,
            )
            counted += 1
        at_once = await asyncio.gather(*(outcomes(gateway, secret, 30) for gateway in (one, other)))
        assert at_once[0] + at_once[1] == {
            "ok": 40 - counted,
            "The team's limit of 40 requests a day": 60 - 40 + counted,
        }

        loop = asyncio.get_running_loop()
        began = loop.time()
        await put(one, "/api/teams/search", {})
        await asked_until(
            lambda: chat(other, secret), lambda answer: answer.status == 200, patience_s=PATIENCE_S
        )
        assert loop.time() - began < 1.0 + SLACK_S
        assert (await admin(other, "POST", "/api/teams/search/suspend")).json()["suspended"]
        await until_every_worker(one, secret, 401)
        assert (await admin(other, "POST", "/api/teams/search/resume")).status == 200
        await until_every_worker(one, secret, 200)
        assert (await admin(one, "DELETE", "/api/teams/search")).status == 200
        await until_every_worker(other, secret, 401)
        line = await one.log.wait_for(lambda line: line["event"] == "team_deleted")
        assert (line["name"], line["by"].endswith("127.0.0.1")) == ("search", True)


async def test_a_caller_is_warned_at_the_soft_limit_and_refused_at_the_hard_one(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        gateway = await started(start_gateway_process, upstream, f"sqlite://{tmp_path / 's.db'}")
        await put(
            gateway, "/api/users/ann", {"limits": {"budgets": ["60 tokens/week"], "warn_at": 0.5}}
        )
        secret = await made(gateway, owner="ann")
        await until_every_worker(gateway, secret, 200)
        answers = [await chat(gateway, secret) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        warnings = [answer.value("x-gateway-budget-warning") for answer in answers]
        assert warnings[0] is None
        assert "The user's budget of 60 tokens/week is used to" in str(warnings[1])
        assert b"own:user" in (answers[0].value("ratelimit") or b"")
        assert _message(answers[3]).startswith("The user's budget of 60 tokens/week is reached.")
        line = await gateway.log.wait_for(lambda line: line["event"] == "budget_warning")
        assert (line["limit"], line["holder"][:8]) == ("own:user", "user:ann")
        warned = [line for line in gateway.log.lines if line["event"] == "budget_warning"]
        assert len(warned) == 1


async def test_a_team_that_makes_no_sense_says_which_field_is_wrong(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await started(start_gateway_process, upstream, f"sqlite://{tmp_path / 's.db'}")
        for settings, why in (
            ({"models": ["nowhere"]}, "models"),
            ({"limits": {"budgets": ["5 EUR/day"]}}, "limits.budgets"),
            ({"per_user": {"requests": "x"}}, "per_user.requests"),
            ({"key_lifetime": "soon"}, "key_lifetime"),
            ({"kind": "user"}, "kind"),
        ):
            response = await admin(gateway, "PUT", "/api/teams/a", settings)
            assert (response.status, why in response.json()["error"]) == (400, True), settings
        assert (await admin(gateway, "PUT", "/api/teams/a%2Fb", {})).status == 400
        assert (await admin(gateway, "PUT", "/api/users/a%2Fb", {})).status == 200
        for method, path in (("DELETE", "/api/teams/a"), ("POST", "/api/users/x/resume")):
            assert (await admin(gateway, method, path)).status == 404
        assert (await told(gateway, "/api/teams"))["teams"] == []
        [user] = (await told(gateway, "/api/users"))["users"]
        assert (user["name"], user["suspended"]) == ("a/b", None)


@pytest.mark.parametrize("kept_in", ["sqlite", "redis"])
async def test_teams_are_listed_in_pages(
    start_gateway_process: StartGatewayProcess,
    start_redis: StartRedis,
    tmp_path: Path,
    kept_in: str,
) -> None:
    store = (await start_redis()).url if kept_in == "redis" else f"sqlite://{tmp_path / 's.db'}"
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await started(start_gateway_process, upstream, store)
        await put(gateway, "/api/teams/gone", {})
        assert (await admin(gateway, "DELETE", "/api/teams/gone")).status == 200
        await put(gateway, "/api/users/ann", {})
        for name in ("c", "a", "b"):
            await put(gateway, f"/api/teams/{name}", {"user_keys": 2})
        first = await told(gateway, "/api/teams?limit=2")
        second = await told(gateway, f"/api/teams?limit=2&after={first['next']}")
        assert [team["name"] for team in first["teams"] + second["teams"]] == ["a", "b", "c"]
        assert second["next"] is None
        assert (await admin(gateway, "GET", "/api/teams?limit=0")).status == 400


@pytest.mark.parametrize("path", ["/api/teams", "/api/users"])
async def test_without_a_shared_store_there_are_no_teams(
    start_gateway_process: StartGatewayProcess, path: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        response = await admin(gateway, "GET", path)
        assert response.status == 503
        assert "store.url" in response.json()["error"]
