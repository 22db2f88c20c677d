"""API keys over the admin API: made, used, replaced and revoked, in a file and in the store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import admin, told, until
from tests.support.client import ask, request
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import PATIENCE_S, asked_until

USAGE = {"usage": {"prompt_tokens": 10, "completion_tokens": 5}}


async def started(
    start: StartGatewayProcess, upstream: ScriptedUpstream, folder: Path, kept_in: str
) -> GatewayProcess:
    config = simple_config(upstream.url, auth=["keys"])
    config["models"] = {"m": {"upstream": "main"}}
    config["routes"][0] |= {"models": ["m"]}
    config["limits"] = {"few": {"key": "subject", "requests": "5/day"}}
    provider = {"type": "api_key"}
    if kept_in == "file":
        provider["file"] = str(folder / "keys.yaml")
    return await start(
        config,
        auth={"keys": provider},
        store={"url": f"sqlite://{folder / 'store.db'}"},
        telemetry={"traces": {"local": str(folder / "traces.db")}},
    )


async def status(gateway: GatewayProcess, secret: str) -> int:
    """The status that a caller with a key gets."""
    headers = [f"Authorization: Bearer {secret}", "Connection: close"]
    body = b'{"model": "m", "messages": []}'
    return (await ask(gateway.port, request("POST", headers=headers, body=body))).status


async def until_status(gateway: GatewayProcess, secret: str, wanted: int) -> None:
    """Wait until a key is known, or no longer: every worker reads keys twice a second."""
    await asked_until(
        lambda: status(gateway, secret), lambda found: found == wanted, patience_s=PATIENCE_S
    )


async def made(gateway: GatewayProcess, path: str, order: Any) -> dict[str, Any]:
    response = await admin(gateway, "POST", path, order)
    assert response.status == 200, response.body
    document: dict[str, Any] = response.json()
    return document


@pytest.mark.parametrize("kept_in", ["file", "store"])
async def test_a_key_is_made_used_replaced_and_revoked(
    start_gateway_process: StartGatewayProcess, tmp_path: Path, kept_in: str
) -> None:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path, kept_in)
        order = {"owner": "ann", "tenant": "acme", "models": ["m"], "expires": "90d"}
        first = await made(gateway, "/api/keys", order)
        await until_status(gateway, first["secret"], 200)
        identity = first["key"]["id"]
        document = await until(
            gateway, "/api/keys", lambda found: found["providers"][0]["keys"][0]["requests"] > 0
        )
        (provider,) = document["providers"]
        (key,) = provider["keys"]
        assert (provider["name"], provider["kept_in"]) == ("keys", kept_in)
        assert (key["owner"], key["tenant"], key["models"]) == ("ann", "acme", ["m"])
        assert (key["state"], key["tokens"]) == ("usable", 15)
        assert key["last_used"] is not None
        assert first["secret"] not in str(document)
        assert "hash" not in str(document)

        second = await made(gateway, f"/api/keys/{identity}/rotate", {"overlap": "1h"})
        assert second["key"]["owner"] == "ann"
        assert second["key"]["models"] == ["m"]
        await until_status(gateway, second["secret"], 200)
        assert await status(gateway, first["secret"]) == 200, "for another hour"

        assert (await admin(gateway, "DELETE", f"/api/keys/{identity}")).status == 200
        await until_status(gateway, first["secret"], 401)
        keys = (await told(gateway, "/api/keys"))["providers"][0]["keys"]
        assert [one["state"] for one in keys] == ["revoked", "usable"]
        again = await admin(gateway, "POST", f"/api/keys/{identity}/rotate", {})
        assert again.status == 409
        line = await gateway.log.wait_for(lambda line: line["event"] == "key_revoked")
        assert (line["id"], line["owner"]) == (identity, "ann")
        assert first["secret"].encode() not in gateway.log.raw


async def test_what_cannot_be_made_says_which_field_is_wrong(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path, "file")
        for order, where in (
            ({}, "owner"),
            ({"owner": ""}, "owner"),
            ({"owner": "ann", "models": ["nowhere"]}, "models"),
            ({"owner": "ann", "limits": ["nowhere"]}, "limits"),
            ({"owner": "ann", "expires": "soon"}, "expires"),
            ({"owner": "ann", "expires": "999999999999d"}, "expires"),
            ({"owner": "ann", "expire": "90d"}, "expire"),
        ):
            response = await admin(gateway, "POST", "/api/keys", order)
            assert (response.status, where in response.json()["error"]) == (400, True), order
            assert "nowhere" not in response.json()["error"]
        elsewhere = await admin(gateway, "POST", "/api/keys?provider=x", {"owner": "ann"})
        assert elsewhere.status == 404
        assert (await admin(gateway, "DELETE", "/api/keys/unknown")).status == 404
        assert (await told(gateway, "/api/keys"))["providers"][0]["keys"] == []
        (tmp_path / "keys.yaml").write_text("keys: [broken")
        broken = await admin(gateway, "GET", "/api/keys")
        assert (broken.status, "not valid YAML" in broken.json()["error"]) == (503, True)


async def test_a_key_is_changed_suspended_and_resumed_with_an_audit_line_for_each(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path, "store")
        order = {"owner": "ann", "tags": ["ci"], "allowance": {"requests": "1000/minute"}}
        new = await made(gateway, "/api/keys", order)
        secret, path = new["secret"], f"/api/keys/{new['key']['id']}"
        await until_status(gateway, secret, 200)

        change = {"routes": [], "tags": ["batch"], "allowance": {"concurrency": 3}}
        key = (await changed(gateway, path, change))["key"]
        assert (key["owner"], key["routes"], key["tags"]) == ("ann", [], ["batch"])
        assert (key["allowance"]["requests"], key["allowance"]["concurrency"]) == (None, 3)
        await until_status(gateway, secret, 403)
        await changed(gateway, path, {"routes": None})
        await until_status(gateway, secret, 200)

        assert (await made(gateway, f"{path}/suspend", {}))["key"]["state"] == "suspended"
        await until_status(gateway, secret, 401)
        assert (await admin(gateway, "POST", f"{path}/rotate", {})).status == 409
        assert (await made(gateway, f"{path}/resume", {}))["key"]["state"] == "usable"
        await until_status(gateway, secret, 200)

        line = await gateway.log.wait_for(lambda line: line["event"] == "key_changed")
        assert line["by"].endswith("from 127.0.0.1")
        assert line["before"] == {"tags": ["ci"], "routes": None, "allowance": ALLOWED}
        assert line["after"]["allowance"] == {"concurrency": 3}
        for event in ("key_created", "key_suspended", "key_resumed"):
            await gateway.log.wait_for(lambda line, event=event: line["event"] == event)  # type: ignore[misc]
        assert secret.encode() not in gateway.log.raw
        assert b"sha256:" not in gateway.log.raw


ALLOWED = {"requests": "1000/minute"}


async def changed(gateway: GatewayProcess, path: str, change: Any) -> dict[str, Any]:
    response = await admin(gateway, "PATCH", path, change)
    assert response.status == 200, response.body
    document: dict[str, Any] = response.json()
    return document


async def test_keys_are_listed_in_pages_by_filters(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path, "store")
        for number in range(7):
            order = {"owner": f"user-{number % 2}", "tags": ["odd"] if number % 2 else []}
            await made(gateway, "/api/keys", order)
        seen: list[str] = []
        after: str | None = ""
        for _ in range(4):
            found = await told(gateway, f"/api/keys?provider=keys&limit=2&after={after}")
            (provider,) = found["providers"]
            seen += [key["id"] for key in provider["keys"]]
            after = provider["next"]
        assert after is None
        assert (len(seen), len(set(seen))) == (7, 7)
        for query, count in (
            ("owner=user-1", 3),
            ("tag=odd", 3),
            ("text=USER-0", 4),
            ("state=revoked", 0),
            ("team=x", 0),
        ):
            (provider,) = (await told(gateway, f"/api/keys?{query}"))["providers"]
            assert len(provider["keys"]) == count, query
        assert (await admin(gateway, "GET", "/api/keys?limit=x")).status == 400
        assert (await admin(gateway, "GET", "/api/keys?provider=x")).status == 404


async def test_what_a_key_cannot_have_says_which_field_is_wrong(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path, "store")
        new = await made(gateway, "/api/keys", {"owner": "ann"})
        path = f"/api/keys/{new['key']['id']}"
        for change, why in (
            ({"owner": ""}, "owner"),
            ({"team": "nowhere"}, "team: there is no such team"),
            ({"routes": ["nowhere"]}, "routes"),
            ({"allowance": {"requests": "many"}}, "allowance.requests: not a rate"),
            ({"allowance": {"budgets": ["5 EUR/day"]}}, "allowance.budgets: no model has a price"),
            ({"state": "revoked"}, "state"),
        ):
            response = await admin(gateway, "PATCH", path, change)
            assert response.status == 400, change
            assert why in response.json()["error"]
        assert (await admin(gateway, "PATCH", "/api/keys/unknown", {})).status == 404
        await admin(gateway, "DELETE", path)
        for method, place in (("PATCH", path), ("POST", f"{path}/suspend")):
            assert (await admin(gateway, method, place, {})).status == 409


@pytest.mark.parametrize("kept_in", ["file", "store"])
async def test_changes_of_one_key_at_once_are_all_kept(
    start_gateway_process: StartGatewayProcess, tmp_path: Path, kept_in: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path, kept_in)
        made_key = await made(gateway, "/api/keys", {"owner": "ann"})
        path = f"/api/keys/{made_key['key']['id']}"
        changes: list[dict[str, Any]] = [
            {"tenant": "acme"},
            {"tier": "gold"},
            {"tags": ["ci"]},
            {"models": ["m"]},
            {"scopes": ["read"]},
            {"allowance": {"requests": "5/minute"}},
        ]
        answers = await asyncio.gather(
            *(admin(gateway, "PATCH", path, one) for one in changes),
            admin(gateway, "POST", f"{path}/suspend"),
        )
        assert {response.status for response in answers} == {200}
        (key,) = (await told(gateway, "/api/keys"))["providers"][0]["keys"]
        for change in changes:
            assert {**key, "allowance": {"requests": key["allowance"]["requests"]}} | change == {
                **key,
                "allowance": {"requests": "5/minute"},
            }
        assert key["state"] == "suspended"
