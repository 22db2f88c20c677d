"""Members of a team over the admin API: their keys, use and budgets."""

from __future__ import annotations

from pathlib import Path

from tests.support.admin import admin, told, until
from tests.support.client import ask, request
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import asked_until

USAGE = {"usage": {"prompt_tokens": 10, "completion_tokens": 5}}


async def test_members_are_owners_of_keys_and_callers_with_tokens(
    start_gateway_process: StartGatewayProcess, tmp_path: Path, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        config = simple_config(upstream.url, auth=["corp", "keys"], models=["m"])
        config["models"] = {"m": {"upstream": "main", "price": {"input": 1e6, "output": 1e6}}}
        corp = {**auth["corp"], "claims": {"team": "team"}}
        gateway = await start_gateway_process(
            config,
            auth={"corp": corp, "keys": {"type": "api_key"}},
            store={"url": f"sqlite://{tmp_path / 'store.db'}"},
            telemetry={"traces": {"local": str(tmp_path / "traces.db")}},
        )
        budget = {"budgets": ["100 USD/day", "1000 tokens/month"]}
        team = {"per_user": budget, "limits": {"budgets": ["500 tokens/week"]}}
        assert (await admin(gateway, "PUT", "/api/teams/search", team)).status == 200
        for owner, name in (("ann", "search"), ("ann", "search"), ("zoe", None)):
            order = {"owner": owner, "team": name}
            assert (await admin(gateway, "POST", "/api/keys", order)).status == 200
        chat = request(
            "POST",
            headers=[bearer(sub="kim", team="search"), "Connection: close"],
            body=b'{"model": "m", "messages": [], "max_tokens": 5}',
        )
        await asked_until(
            lambda: ask(gateway.port, chat), lambda found: found.status == 200, patience_s=20.0
        )
        suspended = await admin(gateway, "POST", "/api/users/kim/suspend")
        assert suspended.json()["suspended"] is not None
        path = "/api/teams/search/members"
        found = await until(gateway, path, lambda known: "'requests': 1" in str(known))
        ann, kim = found["members"]
        assert (ann["name"], ann["keys"], ann["requests"], ann["cost"]) == ("ann", 2, 0, {})
        assert (kim["name"], kim["keys"], kim["tokens"], kim["cost"]) == ("kim", 0, 15, {"USD": 15})
        assert (ann["suspended"], kim["suspended"] is not None) == (None, True)
        used = [(one["used"], one["size"], one["unit"]) for one in kim["budgets"]]
        assert used == [(15.0, 100.0, "USD"), (15.0, 1000.0, "tokens")]
        assert [one["used"] for one in ann["budgets"]] == [0.0, 0.0]
        assert (found["more"], found["usage_known"]) == (False, True)
        (listed,) = (await told(gateway, "/api/teams?text=EAR"))["teams"]
        (of_team,) = listed["budgets"]
        assert (of_team["budget"], of_team["used"]) == ("500 tokens/week", 15.0)
        assert 0 < of_team["resets_in_s"] <= 7 * 86_400
        assert (await told(gateway, "/api/teams?text=nothing"))["teams"] == []
        assert (await admin(gateway, "GET", "/api/teams/none/members")).status == 404
