"""`gateway check`: problems and warnings, for people and for programs."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from tests.support.commands import NOWHERE, Said, StartBackend, call, called
from tests.support.doctor import one_model
from tests.support.gateway import config_text, simple_config


def test_check_accepts_a_valid_file(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    assert call(capsys, "check", str(file)) == Said(0, f"{file}: ok\n", "")


def test_check_prints_every_problem_with_its_line(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    text = file.read_text()
    file.write_text(text.replace("upstreams:", "upstreems: {}\nupstreams:") + "surprise: 1\n")
    said = call(capsys, "check", str(file))
    assert said.code == 1
    assert said.out == ""
    assert len(said.err.splitlines()) == 2
    assert "upstreems: unknown key; did you mean 'upstreams'?" in said.err
    for line in said.err.splitlines():
        assert re.match(re.escape(str(file)) + r":\d+:\d+: ", line)


def test_check_reads_standard_input(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(file.read_text()))
    assert call(capsys, "check", "-") == Said(0, "-: ok\n", "")


def test_check_warns_of_what_is_valid_and_rarely_meant(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(config_text(simple_config(f"{NOWHERE}/v1"), {}))
    said = call(capsys, "check", str(file))
    assert (said.code, said.out) == (0, f"{file}: ok\n")
    assert "endpoints[0].url: ends in /v1" in said.err
    assert said.err.endswith("(warning)\n")
    assert call(capsys, "check", "--strict", str(file)).code == 1


def test_check_tells_programs_of_problems_and_warnings(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    document = simple_config(f"{NOWHERE}/v1", middleware=[{"use": "no.such"}])
    file.write_text(config_text(document, {}))
    said = call(capsys, "check", "--json", str(file))
    assert (said.code, said.err) == (1, "")
    error, warning = (json.loads(line) for line in said.out.splitlines())
    assert (error["severity"], error["path"]) == ("error", "routes[0].middleware[0].use")
    assert (warning["severity"], warning["file"]) == ("warning", str(file))
    assert warning["line"] > 1


def test_check_reads_config_yaml_here_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert call(capsys, "check") == Said(0, "config.yaml: ok\n", "")


def test_check_finds_every_plug_in_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    use = [{"use": "no.such.module"}, {"use": "gateway.errors.NotFound"}]
    file.write_text(config_text(simple_config(NOWHERE, middleware=use), {}))
    said = call(capsys, "check", str(file))
    assert (said.code, said.out) == (1, "")
    first, second = said.err.splitlines()
    assert "routes[0].middleware[0].use: cannot import no.such" in first
    assert "routes[0].middleware[1].use: neither an async function" in second


async def test_backends_are_asked_on_demand_only(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    url = await start_backend({"/v1/models": {"data": [{"id": "other", "owned_by": "vllm"}]}})
    file.write_text(config_text(one_model(f"{url}/v1"), {}))
    assert "does not list" not in (await called("check", str(file))).err
    said = await called("check", "--live", "--strict", str(file))
    assert (said.code, said.out) == (1, f"{file}: ok\n")
    assert "the URL ends in /v1, which stands in the request's own path too" in said.err
    assert "does not list m; load the model there" in said.err


async def test_a_backend_that_says_its_base_path_is_right_is_believed(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    url = await start_backend({"/v1/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}})
    file.write_text(config_text(one_model(f"{url}/v1"), {}))
    assert "ends in /v1" in (await called("check", str(file))).err
    assert (await called("check", "--live", str(file))).err == ""


def test_other_sources_of_values_are_listed(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_SERVER__LISTEN", "127.0.0.1:9999")
    (tmp_path / "teams").mkdir()
    file.write_text(f"include: [{tmp_path}/teams]\n" + file.read_text())
    (tmp_path / "teams/a.yaml").write_text("limits: {a: {key: subject, requests: 1/minute}}\n")
    said = call(capsys, "check", str(file))
    assert said.out.splitlines() == [
        f"{file}: ok",
        f"  includes {tmp_path}/teams/a.yaml",
        "  server.listen is set by GATEWAY_SERVER__LISTEN",
    ]
