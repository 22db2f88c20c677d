"""Ownership: a team's file uses nothing outside of the configuration that is not listed."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from gateway.config.load import load_source
from gateway.config.secret_sources import SecretReading
from tests.config.test_include import said, write

SECTIONS = 'upstreams: "{file}-*", routes: "{file}-*", auth: "{file}-*"'
UPSTREAM = 'upstreams:\n  a-x: {endpoints: [{url: "http://10.0.0.6"}], %s}\n'
ROUTE = "routes:\n  - {name: a-x, path: /a/, auth: anonymous, upstream: vllm, %s}\n"
USES = [
    (UPSTREAM % "credentials: {bearer: {env: A_KEY}}", "secrets", "secrets: A_*"),
    (UPSTREAM % "credentials: {bearer: {file: keys/a}}", "files", "files: keys/*"),
    (UPSTREAM % "credentials: {bearer: {command: [pass, a]}}", "commands", "commands: pass"),
    (UPSTREAM % "tls: {ca: keys/ca.pem}", "files", "files: keys/*"),
    (UPSTREAM % "allow_addresses: [169.254.0.0/16]", "egress", "egress: true"),
    (ROUTE % "middleware: [{use: acme.Stamp}]", "plugins", "plugins: acme.*"),
]


def entry(*more: str) -> str:
    return "[{{path: teams, owns: {{{}}}}}]".format(", ".join((SECTIONS, *more)))


@pytest.mark.parametrize(("text", "key", "listed"), USES)
def test_what_reaches_outside_has_to_be_listed(
    tmp_path: Path, text: str, key: str, listed: str
) -> None:
    [problem] = said(tmp_path, entry(), a=text)
    assert problem.startswith("teams/a.yaml:2:")
    assert f"`{key}" in problem
    (tmp_path / "keys").mkdir()
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "keys/ca.pem"))
    file = write(tmp_path, entry(listed), a=text)
    load_source(file, reading=SecretReading.NEVER)


def test_another_name_is_refused(tmp_path: Path) -> None:
    text = UPSTREAM % "credentials: {bearer: {env: B_KEY}}"
    [problem] = said(tmp_path, entry('secrets: "A_*"'), a=text)
    assert problem.endswith("this file may not use 'B_KEY'; it owns A_*")


def test_a_path_does_not_lead_out_of_a_folder(tmp_path: Path) -> None:
    text = UPSTREAM % "credentials: {bearer: {file: keys/../b}}"
    [problem] = said(tmp_path, entry('files: "keys/*"'), a=text)
    assert problem.endswith("this file may not use 'b'; it owns keys/*")


def test_no_program_of_a_file_runs_that_may_not(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    text = UPSTREAM % f"credentials: {{bearer: {{command: [touch, {ran}]}}}}"
    said(tmp_path, entry("commands: pass"), a=text)
    assert not ran.exists()


def test_hooks_of_a_file_belong_to_no_team(tmp_path: Path) -> None:
    text = "hooks:\n  a-x: {type: plugin, use: acme.Words}\n"
    [problem] = said(tmp_path, entry("plugins: acme.*"), a=text)
    assert "hooks: this file owns no such section" in problem


def test_a_file_without_owns_uses_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B_KEY", "secret")
    text = UPSTREAM % "credentials: {bearer: {env: B_KEY}}"
    load_source(write(tmp_path, "[teams]", a=text))
