"""`gateway prompts`: files of the prompt audit are listed and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway.prompt_audit.data_keys import PublicKey, SecretKey, WrappingKey
from gateway.prompt_audit.file_writer import FileOptions, FileWriter, Sync
from gateway.prompt_audit.folder import AuditFolder
from tests.support.commands import called
from tests.support.gateway import config_text, simple_config

SECRET = "0f" * 32


def record(number: int, **fields: Any) -> bytes:
    text = {"request": {"body": {"messages": [{"content": f"prompt {number}"}]}}}
    facts = {"time": f"2026-11-{number:02}T12:00:00.000Z", "request_id": f"r{number}"}
    return json.dumps({**facts, "route": "main", **text, **fields}).encode()


def write(folder: Path, *records: bytes, keys: tuple[WrappingKey, ...] = ()) -> None:
    options = FileOptions(gzip=True, keys=keys, size_bytes=10**6, age_s=60, sync=Sync.NEVER)
    writer = FileWriter(AuditFolder(folder), options)
    writer.append(records)
    writer.close()


async def ids(*arguments: str) -> list[str]:
    """Return the ids of the records that the command prints."""
    said = await called("prompts", "read", *arguments)
    assert said.code == 0, said.err
    return [json.loads(line)["request_id"] for line in said.out.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "audit"
    principal = {"subject": "alice", "team": "blue", "key_id": "k1"}
    write(path, record(1), record(2, principal=principal, verdict="content_refused", model="m"))
    write(path / "2026" / "11", record(3, answer={"text": "the answer"}))
    return path


async def test_records_of_all_files_below_a_folder_are_printed(folder: Path) -> None:
    assert sorted(await ids(str(folder))) == ["r1", "r2", "r3"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--since", "2026-11-02"], ["r2", "r3"]),
        (["--until", "2026-11-02T14:00+02:00"], ["r1"]),
        (["--since", "1h ago"], []),
        (["--subject", "alice"], ["r2"]),
        (["--team", "blue", "--key-id", "k1", "--model", "m"], ["r2"]),
        (["--verdict", "content_refused"], ["r2"]),
        (["--request-id", "r3"], ["r3"]),
        (["--contains", "prompt 1"], ["r1"]),
        (["--contains", "the answer"], ["r3"]),
        (["--route", "other"], []),
    ],
)
async def test_records_are_chosen_by_time_caller_and_content(
    folder: Path, arguments: list[str], wanted: list[str]
) -> None:
    assert sorted(await ids(str(folder), *arguments)) == wanted


async def test_records_are_counted(folder: Path) -> None:
    assert (await called("prompts", "read", str(folder), "--count")).out == "3\n"


async def test_the_folder_and_the_secrets_come_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    audit = {
        "directory": "audit",
        "encryption": {"keys": {"k": {"secret": {"file": "key"}}}},
    }
    file = tmp_path / "config.yaml"
    file.write_text(config_text(simple_config("http://127.0.0.1:1"), {"prompt_audit": audit}))
    write(tmp_path / "audit", record(1), keys=(SecretKey.parse("k", SECRET.encode()),))
    assert await ids("--config", str(file)) == ["r1"]
    listed = await called("prompts", "files", "--config", str(file))
    assert "jsonl.gz.sealed" in listed.out
    assert "closed" in listed.out
    # Without the configuration, the secret is named.
    assert await ids(str(tmp_path / "audit"), "--secret", f"k={tmp_path / 'key'}") == ["r1"]


async def test_a_private_key_opens_what_its_public_key_sealed(tmp_path: Path) -> None:
    private = X25519PrivateKey.generate()
    form, pem = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    sealing = serialization.BestAvailableEncryption(b"pass")
    (tmp_path / "own.pem").write_bytes(private.private_bytes(pem, form, sealing))
    (tmp_path / "password").write_text("pass\n")
    write(tmp_path / "audit", record(1), keys=(PublicKey("p", private.public_key()),))
    identity = ["--identity", str(tmp_path / "own.pem")]
    password = ["--password-file", str(tmp_path / "password")]
    assert await ids(str(tmp_path / "audit"), *identity, *password) == ["r1"]
    wrong = await called("prompts", "read", str(tmp_path / "audit"), *identity)
    assert (wrong.code, "its password is wrong" in wrong.err) == (4, True)


async def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path / "a", record(1), keys=(SecretKey("k", bytes(32)),))
    write(tmp_path / "b", record(2))
    (whole,) = (tmp_path / "b").iterdir()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole.read_bytes()[:-10])
    (tmp_path / "other").write_bytes(b"no record\n")
    names = [str(tmp_path / name) for name in ("a", "b", "cut.jsonl.gz", "other")]
    said = await called("prompts", "read", *names)
    assert said.code == 4
    assert [json.loads(line)["request_id"] for line in said.out.splitlines()] == ["r2", "r2"]
    assert "needs one of the keys: k" in said.err
    assert "ends early" in said.err
    assert "holds a line that is no record" in said.err


async def test_wrong_options_are_told(tmp_path: Path) -> None:
    for arguments, why in (
        (["--since", "yesterday"], "--since: write"),
        (["--secret", "x"], "--secret: write ID=FILE"),
    ):
        said = await called("prompts", "read", str(tmp_path), *arguments)
        assert (said.code, why in said.err) == (2, True)
    file = tmp_path / "config.yaml"
    file.write_text(config_text(simple_config("http://127.0.0.1:1"), {}))
    said = await called("prompts", "read", "--config", str(file))
    assert (said.code, "has no `prompt_audit`" in said.err) == (2, True)
    missing = await called("prompts", "read", str(tmp_path / "none"))
    assert (missing.code, "No such file" in missing.err) == (3, True)
