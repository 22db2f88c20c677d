"""`gateway doctor`: what it says of a configuration, and of everything the configuration names."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import main
from gateway.cli.doctor import machine
from gateway.cli.doctor.finding import CheckResult
from gateway.cli.doctor.through import judged
from gateway.config import load_text
from gateway.demo import DemoBackend
from tests.support.gateway import StartGateway, config_text, simple_config
from tests.support.issuer import Issuer
from tests.support.redis import StartRedis
from tests.support.upstream import ScriptedUpstream, json_reply

Findings = list[dict[str, str]]
LISTING = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "vllm"}]}


@pytest.fixture
async def backend() -> AsyncIterator[DemoBackend]:
    """A demo backend that takes its time between two tokens."""
    backend = DemoBackend(pace_s=0.01)
    await backend.start()
    yield backend
    await backend.stop()


class Doctor:
    """Runs the command on a configuration."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._file = folder / "config.yaml"
        self._capsys = capsys
        self.code = -1

    async def __call__(self, config: dict[str, Any], *options: str) -> Findings:
        self._file.write_text(config_text(config, {"telemetry": {"traces": {"local": None}}}))
        arguments = ["doctor", "--json", "--config", str(self._file), *options]
        self.code = await asyncio.to_thread(main, arguments)
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(tmp_path, capsys)


def of(findings: Findings, word: str) -> dict[str, str]:
    """The one finding whose subject or text has the word."""
    [found] = (one for one in findings if word in one["subject"] + one["text"])
    return found


def one_model(url: str, **upstream: Any) -> dict[str, Any]:
    """A configuration with one upstream and its model `m`."""
    return {
        "upstreams": {"main": {"endpoints": [{"url": url}], **upstream}},
        "models": {"m": {"upstream": "main"}},
        "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["m"]}],
    }


async def test_a_gateway_whose_parts_are_there_is_well(
    doctor: Doctor, backend: DemoBackend
) -> None:
    config = one_model(backend.url)
    config["models"] = {"demo": {"upstream": "main"}}
    config["routes"][0]["models"] = ["demo"]
    findings = await doctor(config)
    assert doctor.code == 0
    assert of(findings, "OpenAI-compatible")["verdict"] == "ok"
    assert {one["verdict"] for one in findings} <= {"ok", "warning"}  # of this machine's limits


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


async def test_a_gateway_that_is_down_is_told_of_in_the_systems_words(
    doctor: Doctor, backend: DemoBackend
) -> None:
    findings = await doctor(one_model(backend.url), "--through", "http://127.0.0.1:1")
    found = of(findings, "through http://127.0.0.1:1")
    assert found["text"] == "cannot be reached: Connection refused"


async def test_an_untrusted_certificate_in_front_is_told_with_its_remedy(
    doctor: Doctor, backend: DemoBackend
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = of(await doctor(one_model(backend.url), "--through", url), "through")
    assert "its TLS certificate is not trusted" in found["text"]
    assert "SSL_CERT_FILE" in found["remedy"]


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


async def served_by_tls(certificate: trustme.LeafCert) -> web.AppRunner:
    """A backend with this certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    async def models(_: web.Request) -> web.Response:
        return web.json_response(LISTING)

    application = web.Application()
    application.router.add_get("/v1/models", models)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    return runner


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_is_verified_as_the_gateway_does(
    doctor: Doctor, tmp_path: Path, trusted: bool
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    (authority if trusted else other).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    runner = await served_by_tls(authority.issue_cert("localhost"))
    try:
        url = f"https://localhost:{runner.addresses[0][1]}"
        findings = await doctor(one_model(url, tls={"ca": "ca.pem"}))
    finally:
        await runner.cleanup()
    if trusted:
        assert of(findings, "its certificate expires in")["verdict"] == "ok"
        assert of(findings, "vLLM, 1 model(s)")["verdict"] == "ok"
    else:
        assert "tls.ca" in of(findings, "certificate is not accepted")["remedy"]


async def test_an_issuer_is_asked_for_its_keys(doctor: Doctor, backend: DemoBackend) -> None:
    async with Issuer() as issuer:
        issuer.add_key("a")
        config = one_model(backend.url) | {"auth": issuer.provider()}
        assert of(await doctor(config), "its keys are here")["verdict"] == "ok"
        issuer.mode = "500"
        found = of(await doctor(config), "cannot fetch keys")
    assert (found["subject"], found["verdict"]) == ("auth.corp", "failed")


@pytest.mark.parametrize(
    ("ahead_s", "verdict"), [(0, "ok"), (45, "warning"), (-45, "warning"), (300, "failed")]
)
async def test_the_issuers_clock_is_compared_with_ours(
    doctor: Doctor, backend: DemoBackend, ahead_s: int, verdict: str
) -> None:
    async with Issuer() as issuer:
        issuer.add_key("a")
        issuer.ahead_s = ahead_s
        config = one_model(backend.url) | {"auth": issuer.provider()}
        findings = await doctor(config)
    assert of(findings, "this machine's differ by")["verdict"] == verdict


async def test_a_redis_is_asked_and_its_password_is_not_shown(
    doctor: Doctor, backend: DemoBackend, start_redis: StartRedis
) -> None:
    redis = await start_redis()
    config = one_model(backend.url) | {"store": {"url": redis.url}}
    assert of(await doctor(config), "store.url")["verdict"] == "ok"
    for url in (
        "redis://user:hidden@127.0.0.1:1/0",
        "redis+sentinel://:hidden@127.0.0.1:1/main?sentinel_password=hidden%40",
        "redis+sentinel://:hidden@127.0.0.1:1?sentinel_password=hidden",
    ):
        config["store"] = {"url": url}
        found = of(await doctor(config), "store.url")
        assert found["verdict"] == "failed"
        assert "hidden" not in json.dumps(found)


async def test_a_stream_through_the_gateway_is_unbuffered(
    doctor: Doctor, backend: DemoBackend, start_gateway: StartGateway
) -> None:
    config = one_model(backend.url)
    config["models"]["demo"] = {"upstream": "main"}
    config["routes"][0]["models"] = ["demo"]
    gateway = await start_gateway(config)
    found = of(await doctor(config, "--through", gateway.url, "--model", "demo"), "through")
    assert found["verdict"] == "ok", found


async def test_a_proxy_that_collects_a_stream_is_found(
    doctor: Doctor, backend: DemoBackend
) -> None:
    async def collect(request: web.Request) -> web.Response:
        async with (
            aiohttp.ClientSession() as session,
            session.post(backend.url + request.path, data=await request.read()) as answer,
        ):
            return web.Response(body=await answer.read(), content_type="text/event-stream")

    application = web.Application()
    application.router.add_post("/v1/chat/completions", collect)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        findings = await doctor(one_model(backend.url), "--through", url, "--model", "demo")
    finally:
        await runner.cleanup()
    found = of(findings, "all at once")
    assert "proxy_buffering off" in found["remedy"]
    assert doctor.code == 1


async def test_a_refused_stream_says_its_status(doctor: Doctor, backend: DemoBackend) -> None:
    options = ("--through", backend.url, "--model", "demo-error")
    assert of(await doctor(one_model(backend.url), *options), "status 5")["verdict"] == "failed"


@given(st.lists(st.floats(0, 1000), max_size=20).map(sorted))
def test_any_arrivals_are_judged(arrivals: list[float]) -> None:
    assert judged("s", arrivals).verdict in CheckResult


def test_too_few_open_files_are_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    config = load_text(config_text(simple_config("http://127.0.0.1:1"), {}))
    found = next(machine.machine(config))
    assert (found.verdict, "ulimit -n" in found.remedy) == (CheckResult.WARNING, True)


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
