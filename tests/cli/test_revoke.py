"""`gateway revoke`: what it stores, and what it cannot revoke."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import jwt
import pytest

from gateway.auth.jwt import REVOKED
from gateway.stores.sqlite.records import SqliteRecords
from tests.support.commands import NOWHERE, Said, call
from tests.support.gateway import config_text, simple_config


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Configuration whose store is a SQLite file."""
    path = tmp_path / "config.yaml"
    store = {"url": f"sqlite:///{tmp_path}/store.db"}
    path.write_text(config_text(simple_config(NOWHERE), {"store": store}))
    return path


def revoke(capsys: pytest.CaptureFixture[str], file: Path, *arguments: str) -> Said:
    return call(capsys, "revoke", *arguments, "--config", str(file))


def revoked(folder: Path) -> Mapping[str, bytes]:
    """The ids that the store holds as revoked."""

    async def read() -> Mapping[str, bytes]:
        records = SqliteRecords(folder / "store.db")
        try:
            return await records.all(REVOKED)
        finally:
            await records.close()

    return asyncio.run(read())


def token(**claims: object) -> str:
    return jwt.encode(claims, "a secret that the gateway does not know")


def test_a_token_is_revoked_by_its_id_whoever_signed_it(
    capsys: pytest.CaptureFixture[str], shared: Path
) -> None:
    said = revoke(capsys, shared, token(jti="t-1", exp=int(time.time()) + 60))
    assert (said.code, said.out) == (0, "t-1: revoked\n")
    assert [*revoked(shared.parent)] == ["t-1"]


def test_an_id_is_enough(capsys: pytest.CaptureFixture[str], shared: Path) -> None:
    assert revoke(capsys, shared, "--id", "t-2", "--for", "2h").code == 0
    assert [*revoked(shared.parent)] == ["t-2"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["no-token"], "that is not a JWT"),
        ([token(sub="ann")], "the token has no `jti` and `exp`"),
        (["--id", "t", "--for", "soon"], "--for: "),
    ],
)
def test_what_cannot_be_revoked_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], shared: Path, arguments: list[str], why: str
) -> None:
    said = revoke(capsys, shared, *arguments)
    assert (said.code, said.out) == (2, "")
    assert why in said.err


def test_a_store_that_is_not_shared_cannot_revoke(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    said = revoke(capsys, file, "--id", "t")
    assert said.code == 2
    assert "set store.url to SQLite or a Redis" in said.err
