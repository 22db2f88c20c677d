"""Checks of upstreams: reachable, trusted, of the right dialect, with the configured models."""

from __future__ import annotations

import json

import pytest

from gateway.demo import DemoBackend
from tests.support.doctor import LISTING, Doctor, of, one_model
from tests.support.upstream import ScriptedUpstream, json_reply


async def test_an_endpoint_that_nobody_listens_at_is_named_with_a_remedy(doctor: Doctor) -> None:
    findings = await doctor(one_model("http://127.0.0.1:1"))
    found = of(findings, "cannot be reached")
    assert (found["subject"], found["verdict"]) == ("upstreams.main http://127.0.0.1:1", "failed")
    assert "start the backend" in found["remedy"]
    assert doctor.code == 1


async def test_a_model_that_the_backend_does_not_list_is_a_warning(
    doctor: Doctor, backend: DemoBackend
) -> None:
    found = of(await doctor(one_model(backend.url)), "does not list m")
    assert found["verdict"] == "warning"
    assert "demo" in found["remedy"]
    assert doctor.code == 0


async def test_models_of_the_built_in_demo_are_not_missed(
    doctor: Doctor, backend: DemoBackend
) -> None:
    config = one_model(backend.url) | {"demo": {"listen": backend.url.removeprefix("http://")}}
    assert "does not list" not in str(await doctor(config))


async def test_the_built_in_demo_need_not_run_yet(doctor: Doctor) -> None:
    config = one_model("http://127.0.0.1:1") | {"demo": {"listen": "127.0.0.1:1"}}
    assert of(await doctor(config), "built-in demo")["verdict"] == "skipped"
    assert doctor.code == 0


async def test_a_url_that_ends_in_v1_is_a_failure(doctor: Doctor, backend: DemoBackend) -> None:
    found = of(await doctor(one_model(f"{backend.url}/v1")), "ends in /v1")
    assert found["verdict"] == "failed"
    assert found["remedy"] == "take /v1 off the URL"


async def test_the_dialect_is_compared_with_what_the_backend_speaks(doctor: Doctor) -> None:
    async with ScriptedUpstream(json_reply(LISTING)) as upstream:
        found = of(await doctor(one_model(upstream.url, dialect="ollama")), "speaks openai")
    assert found["remedy"] == "write `dialect: openai`"


async def test_the_backends_credential_is_sent(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sk-secret")
    async with ScriptedUpstream(json_reply(LISTING)) as upstream:
        findings = await doctor(one_model(upstream.url, credentials={"bearer": {"env": "KEY"}}))
    assert upstream.requests[0].value("authorization") == b"Bearer sk-secret"
    assert "sk-secret" not in json.dumps(findings)
