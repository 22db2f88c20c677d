"""The audit log over the admin API: what is in it, filters, pages and exports."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import admin, told, until
from tests.support.gateway import StartGatewayProcess, config_text, simple_config


async def test_every_change_is_in_the_log_with_its_difference(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    config = {
        **simple_config("http://127.0.0.1:1"),
        "store": {"url": f"sqlite://{tmp_path / 'store.db'}"},
        "auth": {"keys": {"type": "api_key"}},
    }
    gateway = await start_gateway_process(config)
    made = (await admin(gateway, "POST", "/api/keys", {"owner": "ann"})).json()
    key = made["key"]["id"]
    changes: tuple[tuple[str, str, Any], ...] = (
        ("PATCH", f"/api/keys/{key}", {"tags": ["a"]}),
        ("POST", f"/api/keys/{key}/suspend", None),
        ("POST", "/api/upstreams/main/drain", {"endpoint": "http://127.0.0.1:1"}),
        ("PUT", "/api/log", {"level": "debug"}),
        ("PUT", "/api/teams/search", {}),
        ("DELETE", "/api/cache?route=main", None),
        ("DELETE", f"/api/keys/{key}", None),
    )
    for method, path, body in changes:
        response = await admin(gateway, method, path, body)
        assert response.status == 200, (path, response.body)
    assert (await admin(gateway, "POST", "/api/keys/none/suspend")).status == 404
    page = await told(gateway, "/api/audit")
    assert page["kept"]
    entries = page["entries"]
    assert [(one["action"], one["object"]) for one in entries] == [
        ("request_failed", "request POST /api/keys/none/suspend"),
        ("key_revoked", f"key {key}"),
        ("cache_purged", "cache"),
        ("team_created", "team search"),
        ("log_changed", "log"),
        ("endpoint_drained", "endpoint http://127.0.0.1:1"),
        ("key_suspended", f"key {key}"),
        ("key_changed", f"key {key}"),
        ("key_created", f"key {key}"),
    ]
    assert (entries[4]["before"]["level"], entries[4]["after"]["level"]) == ("info", "debug")
    assert (entries[7]["before"], entries[7]["after"]) == ({"tags": None}, {"tags": ["a"]})
    assert {one["how"] for one in entries} == {"local"}
    assert all(one["address"] == "127.0.0.1" and one["request_id"] for one in entries)
    _, _, secret = made["secret"].partition(f"{key}-")  # a hyphen may be in it, too
    assert secret
    assert secret not in json.dumps(entries)


async def test_a_reload_tells_what_it_changed_whoever_asked_for_it(
    start_gateway_process: StartGatewayProcess,
) -> None:
    gateway = await start_gateway_process(simple_config("http://127.0.0.1:1"))
    changed = config_text(simple_config("http://127.0.0.1:2"), {"server": {"watch": True}})
    gateway.file.write_text(changed)
    assert (await admin(gateway, "POST", "/api/reload")).status == 200
    [entry] = (await told(gateway, "/api/audit"))["entries"]
    assert (entry["action"], entry["how"]) == ("config_reloaded", "local")
    assert "http://127.0.0.1:2" in json.dumps(entry["after"])
    gateway.file.write_text(changed.replace("main", "other"))
    page = await until(gateway, "/api/audit", lambda found: len(found["entries"]) == 2)
    assert page["entries"][0]["who"] == "gateway (the file changed)"
    gateway.file.write_text("nonsense: true")
    page = await until(gateway, "/api/audit", lambda found: len(found["entries"]) == 3)
    assert page["entries"][0]["result"] == "failed"


async def test_the_log_is_filtered_paged_and_exported(
    start_gateway_process: StartGatewayProcess,
) -> None:
    gateway = await start_gateway_process(simple_config("http://127.0.0.1:1"))
    for level in ("debug", "info", "error"):
        assert (await admin(gateway, "PUT", "/api/log", {"level": level})).status == 200
    page = await told(gateway, "/api/audit?limit=2&action=log")
    assert [one["after"]["level"] for one in page["entries"]] == ["error", "info"]
    rest = await told(gateway, f"/api/audit?limit=2&after={page['next']}")
    assert ([one["after"]["level"] for one in rest["entries"]], rest["next"]) == (["debug"], None)
    assert not page["kept"]  # the store is in memory
    exported = await admin(gateway, "GET", "/api/audit.csv?action=log")
    rows = list(csv.DictReader(io.StringIO(exported.body.decode())))
    assert [json.loads(row["after"])["level"] for row in rows] == ["error", "info", "debug"]
    lines = (await admin(gateway, "GET", "/api/audit.jsonl")).body.splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["log_changed"] * 3


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "since=yesterday", "result=maybe", "actor=ann"]
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_malformed_question_is_one_clear_error(idle: object, query: str) -> None:
    response = await admin(idle, "GET", f"/api/audit?{query}")  # type: ignore[arg-type]
    assert response.status == 400
    assert query.partition("=")[0] in response.json()["error"]
