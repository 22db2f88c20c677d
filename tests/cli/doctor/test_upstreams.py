"""Checks of upstreams: reachable, trusted, of the right dialect, with the configured models."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from pytest_aiohttp import AiohttpServer

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


async def tls_backend(aiohttp_server: AiohttpServer, certificate: trustme.LeafCert) -> str:
    """Start a backend with this certificate. Return its URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    async def models(_: web.Request) -> web.Response:
        return web.json_response(LISTING)

    application = web.Application()
    application.router.add_get("/v1/models", models)
    server = await aiohttp_server(application, ssl=context)
    return f"https://localhost:{server.port}"


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_is_verified_as_the_gateway_does(
    doctor: Doctor, aiohttp_server: AiohttpServer, tmp_path: Path, trusted: bool
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    (authority if trusted else other).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    url = await tls_backend(aiohttp_server, authority.issue_cert("localhost"))
    findings = await doctor(one_model(url, tls={"ca": "ca.pem"}))
    if trusted:
        assert of(findings, "its certificate expires in")["verdict"] == "ok"
        assert of(findings, "vLLM, 1 model(s)")["verdict"] == "ok"
    else:
        assert "tls.ca" in of(findings, "certificate is not accepted")["remedy"]
