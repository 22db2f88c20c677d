"""Commands that change the store leave an audit entry with the user and the host."""

from __future__ import annotations

import asyncio
import getpass
import socket
from pathlib import Path

import pytest
import yaml

from gateway.admin.audit import KIND, AuditEntry, parse
from gateway.stores.sqlite.records import SqliteRecords
from tests.config.documents import document
from tests.support.commands import call


def entries(folder: Path) -> list[AuditEntry]:
    """Return the audit log, the oldest entry first."""

    async def read() -> list[AuditEntry]:
        records = SqliteRecords(folder / "store.db")
        found = await records.page(KIND, "", 100)
        await records.close()
        return [one for key, value in found.items() if (one := parse(key, value)) is not None][::-1]

    return asyncio.run(read())


def test_each_change_of_a_command_is_in_the_audit_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gateway.yaml"
    store = {"url": f"sqlite://{tmp_path / 'store.db'}"}
    config = document(auth={"keys": {"type": "api_key"}}, store=store)
    file.write_text(yaml.safe_dump(config))

    def run(*words: str) -> str:
        said = call(capsys, *words, "--config", str(file))
        assert (said.code, said.err) == (0, ""), said
        return said.out.strip()

    run("teams", "set", "search", "--tokens", "100/minute")
    run("teams", "set", "search", "--tokens", "200/minute")
    run("users", "suspend", "ann")
    secret = run("keys", "create", "--owner", "ann", "--team", "search")
    key_id = secret.split("-")[2]
    run("keys", "change", key_id, "--tier", "gold")
    other = run("keys", "rotate", key_id)
    run("keys", "suspend", key_id)
    run("keys", "suspend", key_id)  # changes nothing
    run("keys", "resume", key_id)
    run("keys", "revoke", key_id)
    run("teams", "delete", "search")
    run("revoke", "--id", "jti-1")
    found = entries(tmp_path)
    assert [(one.action, one.object) for one in found] == [
        ("team_created", "team search"),
        ("team_changed", "team search"),
        ("user_suspended", "user ann"),
        ("key_created", f"key {key_id}"),
        ("key_changed", f"key {key_id}"),
        ("key_rotated", f"key {key_id}"),
        ("key_suspended", f"key {key_id}"),
        ("key_resumed", f"key {key_id}"),
        ("key_revoked", f"key {key_id}"),
        ("team_deleted", "team search"),
        ("token_revoked", "token jti-1"),
    ]
    assert {(one.who, one.how) for one in found} == {
        (f"{getpass.getuser()}@{socket.gethostname()}", "shell")
    }
    changed = found[1]
    assert changed.before == {"limits": {"tokens": "100/minute"}}
    assert changed.after == {"limits": {"tokens": "200/minute"}}
    assert found[4].after == {"tier": "gold"}
    assert found[5].details["to"] == other.split("-")[2]
    log = str(found)
    assert "sha256" not in log
    assert not any(one.split("-", 3)[3] in log for one in (secret, other))
