"""Checks of the machine: open files, folders, and the address to listen on."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.doctor import machine
from gateway.cli.doctor.finding import CheckResult
from gateway.config import load_text
from gateway.demo import DemoBackend
from tests.support.doctor import Doctor, of, one_model
from tests.support.gateway import config_text, simple_config


async def test_a_taken_address_may_be_the_gateways_own(
    doctor: Doctor, backend: DemoBackend
) -> None:
    config = one_model(backend.url) | {"server": {"listen": backend.url.removeprefix("http://")}}
    assert of(await doctor(config), "is in use")["verdict"] == "skipped"


async def test_an_address_of_another_machine_is_a_failure(
    doctor: Doctor, backend: DemoBackend
) -> None:
    config = one_model(backend.url) | {"server": {"listen": "192.0.2.1:8080"}}
    found = of(await doctor(config), "192.0.2.1:8080 cannot be listened on")
    assert found["verdict"] == "failed"
    assert "an address of this machine" in found["remedy"]


def test_too_few_open_files_are_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    config = load_text(config_text(simple_config("http://127.0.0.1:1"), {}))
    found = next(machine.machine(config))
    assert (found.verdict, "ulimit -n" in found.remedy) == (CheckResult.WARNING, True)
