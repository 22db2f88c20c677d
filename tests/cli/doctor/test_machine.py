"""Checks of the machine: open files, folders, and the address to listen on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

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


@pytest.mark.parametrize(
    ("days", "verdict", "said"),
    [(90, "ok", "expires in"), (3, "warning", "expires in"), (-2, "failed", "expired 2 days ago")],
)
async def test_the_certificate_of_the_listener_is_looked_at(
    doctor: Doctor, tmp_path: Path, days: int, verdict: str, said: str
) -> None:
    end = datetime.now(UTC) + timedelta(days=days)
    begin = end - timedelta(days=100)
    certificate = trustme.CA().issue_cert("localhost", not_before=begin, not_after=end)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    tls = {"cert": "own.pem", "key": "own.pem"}
    config = {**one_model("http://127.0.0.1:1"), "server": {"listen": "127.0.0.1:0", "tls": tls}}
    found = of(await doctor(config), "server.tls.cert")
    assert found["verdict"] == verdict
    assert said in found["text"]
