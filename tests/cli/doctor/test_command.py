"""`gateway doctor`: what it says of a configuration, and of everything the configuration names."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.demo import DemoBackend
from tests.support.doctor import Doctor, of, one_model
from tests.support.gateway import config_text


async def test_a_gateway_whose_parts_are_there_is_well(
    doctor: Doctor, backend: DemoBackend
) -> None:
    config = one_model(backend.url)
    config["models"] = {"demo": {"upstream": "main"}}
    config["routes"][0]["models"] = ["demo"]
    findings = await doctor(config)
    assert doctor.code == 0
    assert of(findings, "demo backend")["verdict"] == "ok"
    assert {one["verdict"] for one in findings} <= {"ok", "warning"}  # of this machine's limits


async def test_people_get_a_line_for_each_finding_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(config_text(one_model("http://127.0.0.1:1"), {}))
    assert await asyncio.to_thread(main, ["doctor", "--config", str(file)]) == 1
    out = capsys.readouterr().out
    assert (
        "FAILED   upstreams.main http://127.0.0.1:1: cannot be reached: Connection refused\n" in out
    )
    assert "\n         start the backend" in out
