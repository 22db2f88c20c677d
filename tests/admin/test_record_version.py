"""Versions of keys and teams: who changes what somebody else has changed meanwhile is told."""

from __future__ import annotations

from pathlib import Path

from gateway.admin.record_version import ABSENT, version_of
from tests.admin.test_keys_api import made, started
from tests.support.admin import admin, told
from tests.support.gateway import StartGatewayProcess
from tests.support.upstream import ScriptedUpstream, json_reply


def test_a_version_tells_records_apart() -> None:
    assert version_of(None) == ABSENT
    assert version_of(b"a") == version_of(b"a") != version_of(b"b")


async def test_a_change_made_from_an_old_version_is_refused(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await started(start_gateway_process, upstream, tmp_path, "store")
        key = (await made(gateway, "/api/keys", {"owner": "ann"}))["key"]
        path = f"/api/keys/{key['id']}?version={key['version']}"
        first = await admin(gateway, "PATCH", path, {"tier": "gold"})
        assert first.status == 200
        late = await admin(gateway, "PATCH", path, {"tier": "silver"})
        assert (late.status, "changed meanwhile" in late.json()["error"]) == (409, True)
        version = first.json()["key"]["version"]
        path = f"/api/keys/{key['id']}?version={version}"
        assert (await admin(gateway, "PATCH", path, {"tier": "silver"})).status == 200

        team = "/api/teams/search"
        made_team = await admin(gateway, "PUT", f"{team}?version=none", {"user_keys": 1})
        assert made_team.status == 200
        again = await admin(gateway, "PUT", f"{team}?version=none", {})
        assert (again.status, "of this name" in again.json()["error"]) == (409, True)
        version = made_team.json()["version"]
        changed = await admin(gateway, "PUT", f"{team}?version={version}", {"user_keys": 2})
        assert (changed.status, changed.json()["user_keys"]) == (200, 2)
        late = await admin(gateway, "PUT", f"{team}?version={version}", {"user_keys": 3})
        assert late.status == 409
        (found,) = (await told(gateway, "/api/teams"))["teams"]
        assert (found["user_keys"], found["version"]) == (2, changed.json()["version"])
